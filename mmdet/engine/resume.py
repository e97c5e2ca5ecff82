"""Going on where a checkpoint stopped, as if training had never been interrupted."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine import Config
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.logging import print_log

from mmdet.core.checkpoint_file import existing_file, load_checkpoint_file
from mmdet.core.download import is_url
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import find_latest_valid

if TYPE_CHECKING:
    from mmdet.engine.runner import VideoRunner

# what a resumed run takes over from the message hub (the rest describes the old run)
RESUMED_INFO = {'best_score', 'best_ckpt', 'kept_checkpoints'}


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
    meta = load_checkpoint_file(source, cfg.get('trust_checkpoint', False)).get('meta', {})
    saved = meta.get('seed')
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
    """Refuse to train from weights that are not there, before any work.

    Raises:
        CheckpointError: `cfg.load_from` is no file; says how to go on.
    """
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
    found = [str(find_latest_valid(work_dir) or '') if get_rank() == 0 else '']
    broadcast_object_list(found)
    return Path(found[0]) if found[0] else None


def restore_training(runner: 'VideoRunner', checkpoint: Mapping, source: str) -> None:
    """Give optimizer, schedules, position and random generators of `checkpoint` to the runner.

    With another number of processes, and so another number of iterations per epoch, the iteration
    is rescaled within its epoch.

    Raises:
        CheckpointError: the file holds weights only.
    """
    absent = [key for key in ('meta', 'optimizer') if key not in checkpoint]
    if absent or 'epoch' not in checkpoint['meta']:
        raise CheckpointError(
            f'Cannot resume from {source}: it holds no {" and no ".join(absent) or "epoch"}. To '
            f'start anew from its weights use --cfg-options load_from={source}.'
        )
    epoch, iteration = _position(runner, checkpoint['meta'])
    _restore_optimizer(runner, checkpoint, epoch, iteration)
    info = checkpoint.get('message_hub', {}).get('runtime_info', {})
    for key in RESUMED_INFO & info.keys():
        runner.message_hub.update_info(key, info[key])
    runner.train_loop.set_position(epoch, iteration)
    _restore_rng(runner, checkpoint.get('rng', []))
    runner.logger.info(f'Resumed {source}: {epoch} epochs and {iteration} iterations are done')


def _restore_optimizer(
    runner: 'VideoRunner', checkpoint: Mapping, epoch: int, iteration: int
) -> None:
    """Momenta from the checkpoint; what is scheduled (the learning rate) from the config.

    The schedules are run up to the position. So more epochs, another batch size or another rate may
    be configured for the rest, and an unchanged config gives the same values to the last bit.
    """
    schedulers = runner.param_schedulers or []
    optimizer = runner.optim_wrapper
    optimizer._global_step = iteration - 1  # or schedulers warn of a wrong order of steps
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        optimizer.load_state_dict(dict(checkpoint['optimizer']))
        for scheduler, saved in zip(schedulers, checkpoint['param_schedulers'], strict=True):
            scheduler.load_state_dict(saved)
        return
    _replay(schedulers, epoch, iteration, len(runner.train_dataloader))
    names = {scheduler.param_name for scheduler in schedulers}
    names |= {f'initial_{name}' for name in names}
    scheduled = [{n: g[n] for n in names & g.keys()} for g in optimizer.param_groups]
    optimizer.load_state_dict(dict(checkpoint['optimizer']))
    for group, values in zip(optimizer.param_groups, scheduled, strict=True):
        group.update(values)


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


def _position(runner: 'VideoRunner', meta: Mapping) -> tuple[int, int]:
    """Epochs and iterations done, in iterations of this run."""
    epoch, iteration = meta['epoch'], meta.get('iter', 0)
    now = len(runner.train_dataloader)
    before = meta.get('iters_per_epoch', now)
    inside = max(iteration - epoch * before, 0)
    if before == now:
        return epoch, epoch * now + inside
    inside = int(inside * now / before)
    runner.logger.warning(
        f'An epoch had {before} iterations with {meta.get("world_size", "?")} process(es) and has '
        f'{now} with {runner.world_size}: iteration {iteration} becomes {epoch * now + inside}.'
    )
    return epoch, epoch * now + inside


def _restore_rng(runner: 'VideoRunner', states: list) -> None:
    """Each rank takes its own states; they are set once the data loader is running."""
    if len(states) == runner.world_size:
        runner.train_loop.rng_state = states[runner.rank]
        return
    runner.logger.warning(
        f'The checkpoint holds the random states of {len(states)} process(es), this run has '
        f'{runner.world_size}: random draws go on from the seed instead.'
    )
