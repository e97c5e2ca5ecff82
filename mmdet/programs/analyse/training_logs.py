"""Curves of several trainings over each other, and what they ended with.

A training writes `<work dir>/<time>/vis_data/scalars.json`; when it is resumed, it goes on in a new
folder of the same work dir. Rows with a loss are steps of training (`step` counts iterations), the
others are validations (`step` counts epochs).
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmdet.visualization.plots import png_figure, read_log, run_colors, smooth

TOTALS = ('loss', 'vid/AP50', 'coco/AP')  # shown when no key is asked for
BOOKKEEPING = ('step', 'iter', 'epoch')


@dataclass
class TrainingLog:
    """Rows of one training, each with a `step`, ascending.

    Attributes:
        train: of iterations.
        val: of epochs.
    """

    train: list[dict]
    val: list[dict]

    def keys(self) -> list[str]:
        """What can be shown: numbers of training, then metrics."""
        rows = [*self.train, *self.val]
        return list(dict.fromkeys(k for row in rows for k in row if k not in BOOKKEEPING))

    def by_epoch(self, key: str) -> bool:
        """The key is a metric of validations."""
        return not any(key in row for row in self.train)

    def curve(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """[n] iterations (or epochs) and [n] values; empty without the key."""
        rows = self.val if self.by_epoch(key) else self.train
        rows = [row for row in rows if isinstance(row.get(key), (int, float))]
        columns = [[row['step'] for row in rows], [row[key] for row in rows]]
        return np.array(columns[0], dtype=int), np.array(columns[1], dtype=float)

    def best(self, key: str) -> tuple[float, int] | None:
        """The largest value of a metric, the smallest of a loss, and the step where it was.

        None for what is neither (learning rate, time), and without a finite value.
        """
        steps, values = self.curve(key)
        loss, metric = 'loss' in key, self.by_epoch(key) or key == 'acc'
        if not (loss or metric) or np.isnan(values).all():
            return None
        at = np.nanargmin(values) if loss else np.nanargmax(values)
        return float(values[at]), int(steps[at])


def load_training(path: str | os.PathLike) -> TrainingLog:
    """The training of a scalar file or of a work dir, there with everything it was resumed for.

    The logs of a work dir are joined in the order of their folders, which are named by the time of
    the start: from the step on where a later one begins, it replaces the earlier ones.

    Raises:
        FileNotFoundError: no such file, or no training log in the folder.
        ValueError: a file that is no log.
    """
    path = Path(path)
    if path.is_file():
        files = [path]
    else:
        files = sorted(path.glob('*/vis_data/scalars.json')) or [
            *path.glob('vis_data/scalars.json')
        ]
    log = TrainingLog([], [])
    for file in files:
        if path.is_file() or file.stat().st_size:
            rows = [row for row in read_log(file) if 'step' in row]
            log.train = _joined(log.train, [row for row in rows if 'loss' in row])
            log.val = _joined(log.val, [row for row in rows if 'loss' not in row])
    if not log.train and not log.val:
        raise FileNotFoundError(
            f'{path} holds no training log. Legal: a work dir (with */vis_data/scalars.json) or '
            f'such a file.'
        )
    return log


def _joined(earlier: list[dict], later: list[dict]) -> list[dict]:
    if not later:
        return earlier
    later = list({row['step']: row for row in later}.values())
    start = min(row['step'] for row in later)
    kept = [row for row in earlier if row['step'] < start]
    return kept + sorted(later, key=lambda row: row['step'])


def name_runs(paths: Sequence[str | os.PathLike]) -> list[str]:
    """Names for the legend: folders, with as many parents as it takes to tell them apart."""
    folders = [_work_dir(Path(path).resolve()) for path in paths]
    for depth in range(1, 1 + max(len(folder.parts) for folder in folders)):
        names = ['/'.join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [f'{folder.name} ({n})' for n, folder in enumerate(folders, 1)]  # one given twice


def _work_dir(path: Path) -> Path:
    """Of a log: the folder above that of the time; of anything else: itself."""
    return path.parents[2] if path.match('*/*/vis_data/*.json') else path


def keys_to_show(runs: Mapping[str, TrainingLog], wanted: Sequence[str] | None) -> list[str]:
    """The wanted keys, or the totals that there are.

    Raises:
        ValueError: a key that no run has; says which there are.
    """
    known = list(dict.fromkeys(key for run in runs.values() for key in run.keys()))
    if not wanted:
        return [key for key in TOTALS if key in known] or known[:1]
    for key in wanted:
        if key not in known:
            raise ValueError(f'No run has logged {key!r}. Known: {", ".join(known)}')
    return list(dict.fromkeys(wanted))


def plot_logs(
    runs: Mapping[str, TrainingLog],
    keys: Sequence[str],
    path: str | os.PathLike,
    window: int = 0,
) -> None:
    """One panel per key, over iterations or (metrics) epochs; runs that lack it are left out.

    Args:
        runs: by the name in the legend.
        keys: what to show.
        path: the PNG to write.
        window: training values but the learning rate are averaged over so many rows (the raw ones
            stay, thin); 0: not.
    """
    heights = [1.0] * len(keys)
    with png_figure(path, len(keys), size=(9, 0.6 + 3.2 * len(keys)), heights=heights) as axes:
        for axis, key in zip(axes, keys, strict=True):
            by_epoch = False
            for (name, run), color in zip(runs.items(), run_colors(len(runs)), strict=True):
                steps, values = run.curve(key)
                if len(steps) == 0:
                    continue
                by_epoch = run.by_epoch(key)
                marker = 'o' if by_epoch or len(steps) == 1 else None
                if window > 1 and not by_epoch and not key.endswith('lr'):
                    axis.plot(steps, values, color=color, alpha=0.25, linewidth=1)
                    values = smooth(values, window)
                axis.plot(steps, values, color=color, marker=marker, markersize=4, label=name)
            axis.set(title=key, xlabel='epoch' if by_epoch else 'iteration')
            if by_epoch:
                axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend()


def summary_rows(
    runs: Mapping[str, TrainingLog], keys: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Column names, and one row per run: length, time, memory, last and best of each key."""
    names = ['run', 'iterations', 'epochs', 's/iter mean', 's/iter median', 'memory MB']
    for key in keys:
        names += [f'{key} last', f'{key} best']
    return names, [[name, *_summary(run, keys)] for name, run in runs.items()]


def _summary(run: TrainingLog, keys: Sequence[str]) -> Iterable[str]:
    time, memory = run.curve('time')[1], run.curve('memory')[1]
    yield f'{run.train[-1]["step"]:,}' if run.train else '-'
    yield f'{run.val[-1]["step"]}' if run.val else '-'
    yield f'{time.mean():.3f}' if len(time) else '-'
    yield f'{np.median(time):.3f}' if len(time) else '-'
    yield f'{memory.max():,.0f}' if len(memory) else '-'
    for key in keys:
        values = run.curve(key)[1]
        yield f'{values[-1]:.4g}' if len(values) else '-'
        best = run.best(key)
        unit = 'epoch' if run.by_epoch(key) else 'iter'
        yield '-' if best is None else f'{best[0]:.4g} ({unit} {best[1]:,})'


def curve_rows(runs: Mapping[str, TrainingLog], keys: Sequence[str]) -> Iterable[list]:
    """[run, key, 'iteration' or 'epoch', step, value], for a table of all points."""
    for name, run in runs.items():
        for key in keys:
            axis = 'epoch' if run.by_epoch(key) else 'iteration'
            for step, value in zip(*run.curve(key), strict=True):
                yield [name, key, axis, int(step), '' if math.isnan(value) else float(value)]
