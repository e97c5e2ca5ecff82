"""Going on where a checkpoint stopped, as if training had never been interrupted."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine import Config
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.logging import print_log

from mmdet.engine.checkpoint import CheckpointError, find_latest_valid, load_checkpoint_file

if TYPE_CHECKING:
    from mmdet.engine.runner import VideoRunner

# what a resumed run takes over from the message hub (the rest describes the old run)
RESUMED_INFO = ('best_score', 'best_ckpt', 'kept_checkpoints')


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
            level='WARNING',
        )
    cfg.randomness.seed = saved


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
    meta = checkpoint['meta']
    runner.optim_wrapper.load_state_dict(dict(checkpoint['optimizer']))
    for scheduler, saved in zip(
        runner.param_schedulers or [], checkpoint.get('param_schedulers', []), strict=False
    ):
        scheduler.load_state_dict(_counters(scheduler, saved))
    info = checkpoint.get('message_hub', {}).get('runtime_info', {})
    for key in info:
        if key.startswith(RESUMED_INFO):
            runner.message_hub.update_info(key, info[key])
    epoch, iteration = _position(runner, meta)
    runner.train_loop.set_position(epoch, iteration)
    _restore_rng(runner, checkpoint.get('rng', []))
    runner.logger.info(f'Resumed {source}: {epoch} epochs and {iteration} iterations are done')


def _counters(scheduler: object, saved: Mapping) -> dict:
    """The entries of a scheduler's state that change while training; the config gives the rest."""
    configured = set(inspect.signature(type(scheduler).__init__).parameters) - {'last_step'}
    configured.add('total_iters')
    return {key: value for key, value in saved.items() if key not in configured}


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
        f'{now} with {runner.world_size}: iteration {iteration} becomes {epoch * now + inside}. '
        f'The learning rate stays that of the checkpoint.'
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
