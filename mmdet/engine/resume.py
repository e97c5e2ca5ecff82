"""Going on where a checkpoint stopped, as if training had never been interrupted."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine import Config
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmdet.core.checkpoint_file import existing_file, load_checkpoint_file
from mmdet.core.download import is_url
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import find_latest_valid
from mmdet.engine.checkpoint_schema import check_resumable
from mmdet.engine.optim import FORMS
from mmdet.engine.rng import get_rng_state, set_rng_state

if TYPE_CHECKING:
    from mmdet.engine.runner import VideoRunner

# what a resumed run takes over from the message hub (the rest describes the old run)
RESUMED_INFO = {'best_score', 'best_ckpt', 'kept_checkpoints', 'run_id'}


def resume_source(cfg: Config) -> None:
    """Turn `cfg.resume` ('auto', a path, True, False) into `cfg.load_from` and a bool.

    Takes the seed from the checkpoint, since the order of the data depends on it. All ranks take
    the file that rank 0 finds.
    """
    wish = cfg.get('resume', False)
    if not wish:
        return
    named = wish if isinstance(wish, str) and wish != 'auto' else cfg.get('load_from')
    source = named if named and wish != 'auto' else _latest(cfg.work_dir)
    cfg.resume = source is not None
    if source is None:
        print_log(f'Nothing to resume in {cfg.work_dir}: starting anew.', logger='current')
        return
    cfg.load_from = str(source)
    checkpoint = load_checkpoint_file(source, cfg.get('trust_checkpoint', False))
    check_resumable(checkpoint, source)
    saved = checkpoint['meta'].get('seed')
    wanted = cfg.setdefault('randomness', {}).get('seed')
    if saved is None:
        return
    if wanted not in (None, saved):
        print_log(
            f'Using the seed {saved} of {source} instead of {wanted}: the order of the data '
            f'goes on only with the same seed.',
            logger='current',
            level=logging.WARNING,
        )
    cfg.randomness.seed = saved


def check_start(cfg: Config) -> None:
    """Refuse to train from weights that are not there (`cfg.load_from`), before any work."""
    source = cfg.get('load_from')
    if not source or cfg.get('resume') or is_url(source):
        return
    try:
        existing_file(source)
    except CheckpointError as error:
        raise CheckpointError(
            f'{error} This training starts from its weights (`load_from`): train that model first, '
            f'name another file, or start from scratch with --cfg-options load_from=None.'
        ) from None


def _latest(work_dir: str) -> Path | None:
    found = [find_latest_valid(work_dir) if get_rank() == 0 else None]
    broadcast_object_list(found)
    return found[0]


def restore_training(runner: 'VideoRunner', checkpoint: Mapping, source: str) -> None:
    """Give optimizer, schedules, position and random generators of `checkpoint` to the runner.

    With another number of processes, and so another number of iterations per epoch, the iteration
    is rescaled within its epoch.
    """
    check_resumable(checkpoint, source)
    epoch, iteration = _position(runner, checkpoint['meta'], source)
    with _fitting(source):
        _check_momenta(runner, checkpoint['optimizer'])
        _restore_optimizer(runner, checkpoint, epoch, iteration)
    info = checkpoint.get('message_hub', {}).get('runtime_info', {})
    for key in RESUMED_INFO & info.keys():
        runner.message_hub.update_info(key, info[key])
    runner.train_loop.set_position(epoch, iteration)
    _restore_rng(runner, checkpoint.get('rng', []), source)
    runner.logger.info(f'Resumed {source}: {epoch} epochs and {iteration} iterations are done')


@contextmanager
def _fitting(source: str) -> Iterator[None]:
    """torch and mmengine say in many ways that a state is not that of this optimizer."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f'Cannot resume from {source}: its optimizer or schedules are not those of this config '
            f'({type(error).__name__}: {str(error)[:200]}). Resume with the config of that '
            f'training, or start anew from its weights with --cfg-options load_from={source}.'
        ) from error


def _check_momenta(runner: 'VideoRunner', saved: Mapping) -> None:
    """Momenta have the shapes of their parameters: torch would find out in the first step."""
    groups = runner.optim_wrapper.param_groups
    parameters = [p for group in groups for p in group['params']]
    for index, state in saved.get('state', {}).items():
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.ndim == 0:
                continue
            if value.shape != parameters[int(index)].shape:
                raise ValueError(f'{name} of parameter {index} has shape {tuple(value.shape)}')


def _restore_optimizer(
    runner: 'VideoRunner', checkpoint: Mapping, epoch: int, iteration: int
) -> None:
    """Momenta from the checkpoint; what is scheduled (the learning rate) from the config.

    The schedules are run up to the position. So more epochs, another batch size or another rate may
    be configured for the rest, and an unchanged config gives the same values to the last bit.
    """
    schedulers = runner.param_schedulers or []
    optimizer = runner.optim_wrapper
    saved = _in_form_of(optimizer, checkpoint['optimizer'])
    optimizer._global_step = iteration - 1  # or schedulers warn of a wrong order of steps
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        optimizer.load_state_dict(saved)
        for scheduler, state in zip(schedulers, checkpoint['param_schedulers'], strict=True):
            scheduler.load_state_dict(state)
        return
    _replay(schedulers, epoch, iteration, len(runner.train_dataloader))
    names = {scheduler.param_name for scheduler in schedulers}
    names |= {f'initial_{name}' for name in names}
    scheduled = [{n: g[n] for n in names & g.keys()} for g in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, values in zip(optimizer.param_groups, scheduled, strict=True):
        group.update(values)


def _in_form_of(optimizer: OptimWrapper, saved: Mapping) -> dict:
    """The saved state, to be computed on as this run does and not as the one that saved it.

    torch takes over the form of the step with the state, and where the counts of a fused step lie.
    """
    forms = [{f: g[f] for f in FORMS if f in g} for g in optimizer.optimizer.param_groups]
    groups = [{**g, **form} for g, form in zip(saved['param_groups'], forms, strict=True)]
    return {**saved, 'param_groups': groups}


def _replay(schedulers: list, epoch: int, iteration: int, per_epoch: int) -> None:
    """Step schedulers as training does up to `iteration` in `epoch`."""
    by_iteration = [s for s in schedulers if not s.by_epoch]
    for done in range(epoch + 1):
        steps = per_epoch if done < epoch else iteration - epoch * per_epoch
        for _ in range(steps):
            active = [s for s in by_iteration if s._global_step < s.end]
            if not active:
                break
            for scheduler in active:
                scheduler.step()
        if done < epoch:
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()


def _position(runner: 'VideoRunner', meta: Mapping, source: str) -> tuple[int, int]:
    """Epochs and iterations done, in iterations of this run."""
    epoch, iteration = meta['epoch'], meta.get('iter', 0)
    now = len(runner.train_dataloader)
    before = meta.get('iters_per_epoch', now)
    inside = max(iteration - epoch * before, 0)
    if inside > before:
        raise CheckpointError(
            f'Cannot resume from {source}: {iteration} iterations do not fit {epoch} finished '
            f'epochs of {before}.'
        )
    if before == now:
        return epoch, epoch * now + inside
    inside = int(inside * now / before)
    runner.logger.warning(
        f'An epoch had {before} iterations with {meta.get("world_size", "?")} process(es) and has '
        f'{now} with {runner.world_size}: iteration {iteration} becomes {epoch * now + inside}.'
    )
    return epoch, epoch * now + inside


def _restore_rng(runner: 'VideoRunner', states: list, source: str) -> None:
    """Each rank takes its own states; they are set once the data loader is running."""
    if len(states) == runner.world_size:
        _try_rng(states[runner.rank], source)
        runner.train_loop.rng_state = states[runner.rank]
        return
    runner.logger.warning(
        f'The checkpoint holds the random states of {len(states)} process(es), this run has '
        f'{runner.world_size}: random draws go on from the seed instead.'
    )


def _try_rng(state: dict, source: str) -> None:
    """Whether the generators take these states; they are left as they were."""
    now = get_rng_state()
    try:
        set_rng_state(state)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise CheckpointError(
            f'Cannot resume from {source}: its random states (`rng`) are none: {error}.'
        ) from error
    finally:
        set_rng_state(now)
