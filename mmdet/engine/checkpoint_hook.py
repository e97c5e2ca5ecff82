"""When checkpoints are saved, and which are kept."""

import math
import os
import secrets
from contextlib import suppress
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmdet.core.errors import CheckpointError
from mmdet.core.pickle_notes import BlockedGlobals
from mmdet.core.torch_file import read_torch_file
from mmdet.engine.checkpoint_schema import KEPT_NAME
from mmdet.registry import HOOKS

LATEST = 'latest.pth'  # a link to the newest checkpoint, as in 1.x


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Saves `epoch_N.pth` (or `iter_N.pth`); takes the place of mmengine's.

    A checkpoint is deleted only after the one that replaces it is whole on the disk, and only if
    this run (or the one it resumes) wrote it.

    Args:
        interval: save every so many epochs, or iterations when `by_epoch` is False. The end of
            training is always saved.
        by_epoch: count in epochs.
        max_keep_ckpts: keep the newest so many; -1 keeps all.
        save_best: a metric, e.g. 'vid/AP50'; the best weights are kept as `best_<metric>.pth`.
        rule: 'greater' or 'less' is better.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        max_keep_ckpts: int = -1,
        save_best: str | None = None,
        rule: str = 'greater',
    ) -> None:
        if interval < 1:
            raise ValueError(f'CheckpointHook got interval={interval}. Legal: 1 or more.')
        if rule not in ('greater', 'less'):
            raise ValueError(f"CheckpointHook got rule={rule!r}. Legal: 'greater' or 'less'.")
        self.interval, self.by_epoch, self.max_keep_ckpts = interval, by_epoch, max_keep_ckpts
        self.save_best, self.rule = save_best, rule
        self._kept: list[str] = []

    def before_train(self, runner) -> None:
        info = runner.message_hub.runtime_info
        self._run_id = info.get('run_id') or secrets.token_hex(8)
        runner.message_hub.update_info('run_id', self._run_id)
        kept = info.get('kept_checkpoints', [])
        self._kept = [name for name in kept if self._is_ours(Path(runner.work_dir), name)]
        self._recall_best(runner)
        unit = 'epoch(s)' if self.by_epoch else 'iterations'
        runner.logger.info(f'Checkpoints go to {runner.work_dir} every {self.interval} {unit}')

    def after_train_epoch(self, runner) -> None:
        if self.by_epoch and (
            self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        ):
            self._save(runner, f'epoch_{runner.epoch + 1}.pth', runner.epoch + 1, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.by_epoch and (
            self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        ):
            self._save(runner, f'iter_{runner.iter + 1}.pth', runner.epoch, runner.iter + 1)

    def save_interrupted(self, runner) -> None:
        """Called on all ranks between two iterations when a signal asks to stop."""
        self._save(runner, f'iter_{runner.iter}.pth', runner.epoch, runner.iter)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        if not self.save_best:
            return
        if self.save_best not in (metrics or {}):
            raise KeyError(
                f'save_best={self.save_best!r} is no metric. Known: {", ".join(metrics or {})}.'
            )
        score = float(metrics[self.save_best])
        best = runner.message_hub.runtime_info.get('best_score')
        better = best is None or (score > best if self.rule == 'greater' else score < best)
        if math.isnan(score) or not better:
            return
        name = self._best_name()
        runner.message_hub.update_info('best_score', score)
        runner.message_hub.update_info('best_ckpt', name)
        runner.save_checkpoint(
            runner.work_dir,
            name,
            save_optimizer=False,
            save_param_scheduler=False,
            meta={'epoch': runner.epoch, 'iter': runner.iter, self.save_best: score},
        )
        runner.logger.info(f'Best {self.save_best} so far, {score:.4f}: saved as {name}')

    def _best_name(self) -> str:
        return f'best_{self.save_best.replace("/", "_")}.pth'

    def _recall_best(self, runner) -> None:
        """After a resume: the best score may be newer than the checkpoint resumed from."""
        path = Path(runner.work_dir, self._best_name()) if self.save_best else None
        if path is None or runner.iter == 0 or not path.is_file():
            return
        try:
            meta = (read_torch_file(path, weights=False) or {}).get('meta') or {}
            found, score = meta['iter'], float(meta[self.save_best])
        except (CheckpointError, BlockedGlobals, AttributeError, KeyError, TypeError, ValueError):
            runner.logger.warning(f'{path} does not say how good it is: it will be replaced')
            return
        if found <= runner.iter:
            runner.message_hub.update_info('best_score', score)

    def _is_ours(self, work_dir: Path, name: str) -> bool:
        """Whether a name in a resumed checkpoint is a file that this run wrote: names of other
        files could be there, too, and what is kept is deleted one day."""
        if not isinstance(name, str) or not KEPT_NAME.fullmatch(name):
            return False
        path = work_dir / name
        if path.is_symlink() or not path.is_file():
            return False
        try:
            value = read_torch_file(path, weights=False)
            return value['message_hub']['runtime_info']['run_id'] == self._run_id
        except (CheckpointError, BlockedGlobals, KeyError, TypeError):
            return False

    def _save(self, runner, name: str, epoch: int, iteration: int) -> None:
        kept = [other for other in self._kept if other != name] + [name]
        surplus = kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        self._kept = kept[len(surplus) :]
        runner.message_hub.update_info('kept_checkpoints', list(self._kept))
        runner.save_checkpoint(runner.work_dir, name, meta={'epoch': epoch, 'iter': iteration})
        runner.logger.info(f'Saved {name} ({epoch} epochs, {iteration} iterations)')
        if is_main_process():
            _link(Path(runner.work_dir), name)
            for old in surplus:
                Path(runner.work_dir, old).unlink(missing_ok=True)


def _link(folder: Path, name: str) -> None:
    """Let `latest.pth` lead to `name`; file systems without links do without."""
    new = folder / f'.{LATEST}.tmp'
    with suppress(OSError):
        new.unlink(missing_ok=True)
        new.symlink_to(name)
        os.replace(new, folder / LATEST)
