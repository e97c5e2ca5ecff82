"""What a run prints: its learning rate rule, steps with loss and time, metrics; drawn frames."""

import math
import os
import resource
import time
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.hooks import LoggerHook as MMEngineLoggerHook
from mmengine.hooks import RuntimeInfoHook as MMEngineRuntimeInfoHook
from mmengine.runner import LogProcessor as MMEngineLogProcessor
from torch import Tensor

from mmdet.core.folders import contained
from mmdet.core.images import is_image, read_image, write_image
from mmdet.registry import HOOKS, LOG_PROCESSORS

SILENCE_S = 30  # about the longest time without a line of a training
HISTORY = 5000  # values kept of each loss and time, more than any window of the log

Row = tuple[tuple[str, ...], Tensor]  # names of K values, and the values [K] on their device


class LossLog:
    """The values of the iterations since the last line."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Keep the scalars of an iteration; nothing is read, so nothing waits for the device.

        All ranks must add the same names. Those without any tensor are of the CPU.
        """
        tensors = [v for v in values.values() if isinstance(v, Tensor)]
        device = tensors[0].device if tensors else torch.device('cpu')
        scalars = [torch.as_tensor(v, device=device).detach().float() for v in values.values()]
        if scalars:
            self._rows.append((tuple(values), torch.stack([s.reshape(()) for s in scalars])))

    def take(self, seconds: float = 0.0) -> tuple[list[dict[str, float]], float]:
        """The values of every iteration since the last call, and `seconds`: means over the ranks.

        One reduction and one transfer. Every rank must call it after the same iteration.
        """
        rows, self._rows = self._rows, []
        if not rows:
            return [], seconds
        tables = [
            (names, torch.stack([values for _, values in group]))
            for names, group in groupby(rows, key=lambda row: row[0])
        ]
        own = torch.full((1,), seconds, dtype=torch.float64, device=tables[0][1].device)
        flat = torch.cat([own, *(table.double().flatten() for _, table in tables)])
        if get_world_size() > 1:
            dist.all_reduce(flat)
            flat /= get_world_size()
        seconds, *numbers = flat.tolist()
        found, start = [], 0
        for names, table in tables:
            for _ in range(len(table)):
                end = start + len(names)
                found.append(dict(zip(names, numbers[start:end], strict=True)))
                start = end
        return found, seconds


@HOOKS.register_module()
class RuntimeInfoHook(MMEngineRuntimeInfoHook):
    """mmengine's without the losses, which it would read, and so wait for, in every iteration: the
    LoggerHook has them."""

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        pass


@LOG_PROCESSORS.register_module()
class LogProcessor(MMEngineLogProcessor):
    """mmengine's lines with the memory in use on machines without a GPU, too (in MB)."""

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        if not torch.cuda.is_available():
            tag['memory'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            line = f'{line}  memory: {tag["memory"]}'
        return tag, line


@HOOKS.register_module()
class LoggerHook(MMEngineLoggerHook):
    """mmengine's, quieter: frames of a test are counted by the loop's own progress display, and
    per-class metrics are left to the evaluator's table.

    Losses are means over the ranks, and are read when a line is written. Slow steps are shown about
    every 30 s: after a number of iterations that all ranks find from their mean time.
    """

    def before_train(self, runner) -> None:
        self._losses = LossLog()
        self._line_at = runner.iter  # the first iteration is shown
        self._last_line = time.monotonic()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._losses.add(_with_grad_norm(outputs or {}, runner.optim_wrapper))
        last = self.end_of_epoch(runner.train_dataloader, batch_idx)
        due = last or self.every_n_inner_iters(batch_idx, self.interval)
        if not due and runner.iter < self._line_at:
            return
        self._write_losses(runner)
        _bound_histories(runner)
        tag, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
        runner.logger.info(line)
        runner.visualizer.add_scalars(tag, step=runner.iter + 1, file_path=self.json_log_path)

    def _write_losses(self, runner) -> None:
        """Move the losses since the last line to the message hub; plan the next line."""
        now = time.monotonic()
        seconds = (now - self._last_line) / max(len(self._losses), 1)
        rows, seconds = self._losses.take(seconds)
        for row in rows:
            runner.message_hub.update_scalars({f'train/{name}': v for name, v in row.items()})
        self._last_line = now
        self._line_at = runner.iter + max(1, math.ceil(SILENCE_S / max(seconds, 1e-3)))

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        _bound_histories(runner)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        _bound_histories(runner)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        scalars = _scalars(metrics)
        runner.logger.info(f'Epoch(val) [{runner.epoch}]  {_line(scalars)}')
        runner.visualizer.add_scalars(scalars, step=runner.epoch, file_path=self.json_log_path)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        scalars = _scalars(metrics)
        if scalars:
            runner.logger.info(f'Test  {_line(scalars)}')


def _with_grad_norm(outputs: dict, optim_wrapper) -> dict:
    take = getattr(optim_wrapper, 'take_grad_norm', None)  # a wrapper of one's own may have none
    norm = take() if take else None
    return outputs if norm is None else {'grad_norm': norm, **outputs}


def _bound_histories(runner) -> None:
    """mmengine appends every value to an array of up to a million, which is copied each time:
    2.8 ms per value and step after 600,000 steps, 0.01 ms so."""
    for history in runner.message_hub.log_scalars.values():
        history.max_length = HISTORY


def _scalars(metrics: dict | None) -> dict[str, float]:
    return {k: float(v) for k, v in (metrics or {}).items() if isinstance(v, (int, float))}


def _line(scalars: dict[str, float]) -> str:
    """The totals; `vid/AP50/dog` and its like have a second slash."""
    return '  '.join(f'{k}: {v:.4f}' for k, v in scalars.items() if k.count('/') < 2)


@HOOKS.register_module()
class StartInfoHook(Hook):
    """Says before training what the learning rate is, and why."""

    def before_train(self, runner) -> None:
        batch = getattr(runner.train_dataloader.batch_sampler, 'batch_size', 1)
        groups = runner.optim_wrapper.optimizer.param_groups
        rates = sorted({group.get('initial_lr', group['lr']) for group in groups})
        scaled = (runner.auto_scale_lr or {}).get('enable', False)
        base = (runner.auto_scale_lr or {}).get('base_batch_size')
        if scaled:
            rule = f'scaled by {runner.world_size * batch}/{base} (--auto-scale-lr)'
        elif base:
            rule = f'as configured; --auto-scale-lr would multiply it by batch/{base}'
        else:
            rule = 'as configured'
        runner.logger.info(
            f'Learning rate {", ".join(f"{rate:g}" for rate in rates)} ({rule}) for '
            f'{runner.world_size} process(es) x {batch} clip(s) = batch '
            f'{runner.world_size * batch}; {runner.max_epochs} epochs of '
            f'{len(runner.train_dataloader)} iterations'
        )


@HOOKS.register_module()
class DrawDetectionsHook(Hook):
    """Writes every tested frame with its detections, in the folders of the data set.

    Frames from outside of the image folder of the data set go to `out_dir` itself; nothing is
    written outside of `out_dir`, whatever the annotation file says.

    Args:
        score_thr: detections below this score (0..1) are omitted.
    """

    def __init__(self, out_dir: str, score_thr: float = 0.3) -> None:
        self.out_dir = Path(out_dir)
        self.score_thr = score_thr

    def before_test(self, runner) -> None:
        dataset = runner.test_dataloader.dataset
        self._classes = dataset.classes
        self._root = Path(os.path.normpath(getattr(dataset, 'img_prefix', '.')))
        runner.logger.info(f'Frames with detections go to {self.out_dir}')

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        from mmdet.visualization.draw import draw_detections

        for clip, detections in zip(data_batch, outputs, strict=True):
            source = Path(os.path.normpath(clip.key.path))
            inside = source.is_relative_to(self._root)
            name = source.relative_to(self._root) if inside else Path(source.name)
            if not is_image(name):
                name = name.with_suffix('.jpg')
            target = contained(self.out_dir, name, 'The frame')
            image = read_image(clip.key.path)
            drawn = draw_detections(image, detections, self._classes, self.score_thr)
            write_image(target, drawn)
