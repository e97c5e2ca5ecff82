"""Curves of several trainings over each other, and what they ended with.

A training writes `<work dir>/<time>/vis_data/scalars.json`; when it is resumed, it goes on in a new
folder of the same work dir. Rows with a loss are steps of training (`step` counts iterations), the
others are validations (`step` counts epochs).
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mmdet.core.errors import LogError
from mmdet.core.text import lines_of, parsed, read_text
from mmdet.evaluation.report import text_table, write_csv
from mmdet.programs.analyse.plots import png_figure

TOTALS = ('loss', 'vid/AP50', 'coco/AP')  # shown when no key is asked for
BOOKKEEPING = ('step', 'iter', 'epoch')
MOST_STEPS = 1e15


def analyze_logs(
    paths: Sequence[str],
    keys: Sequence[str] | None = None,
    out: str | None = None,
    csv: str | None = None,
    window: int = 0,
) -> None:
    """Print a table of trainings (work dirs or their scalar files), with all totals when no keys
    are given; write their curves to `out` and all points to `csv`. `window`: see `plot_logs`.

    Raises:
        OSError, ValueError: no log, no such key, or a file that cannot be written.
    """
    logs = [load_training(path) for path in paths]
    runs = dict(zip(name_runs(paths), logs, strict=True))
    keys = _keys_to_show(runs, keys)
    print(text_table(*_summary(runs, keys)))
    if out:
        plot_logs(runs, keys, out, window)
        print(f'Written: {out}')
    if csv:
        write_csv(csv, ['run', 'key', 'axis', 'step', 'value'], _points(runs, keys))
        print(f'Written: {csv}')


@dataclass
class TrainingLog:
    """Rows of one training, each with a `step`, ascending: of iterations, and of epochs."""

    train: list[dict] = field(default_factory=list)
    val: list[dict] = field(default_factory=list)

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
        steps, values = [row['step'] for row in rows], [row[key] for row in rows]
        return np.array(steps, dtype=int), np.array(values, dtype=float)

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
        LogError: a file that is no log.
    """
    path, log = Path(path), TrainingLog()
    if path.is_file():
        files = [path]
    else:
        files = sorted(path.glob('*/vis_data/scalars.json'))
        files = files or list(path.glob('vis_data/scalars.json'))
    for file in files:
        rows = [row for row in _rows(file) if 'step' in row]
        log.train = _joined(log.train, [row for row in rows if 'loss' in row])
        log.val = _joined(log.val, [row for row in rows if 'loss' not in row])
    if not log.train and not log.val:
        raise FileNotFoundError(
            f'{path} holds no training log. Legal: a work dir (with */vis_data/scalars.json) or '
            f'such a file.'
        )
    return log


def _rows(path: Path) -> list[dict]:
    """One JSON object per line, without a last line that is half-written: the run may go on."""
    lines, rows = lines_of(read_text(path, LogError)), []
    read_row = partial(json.loads, parse_int=float)  # integers of any length
    for number, line in enumerate(lines, 1):
        try:
            row = parsed(read_row, line, path, LogError, number)
        except LogError:
            if number == len(lines):
                break
            raise
        step = row.get('step', 0) if isinstance(row, dict) else None
        if not isinstance(step, float | int) or not abs(step) < MOST_STEPS:  # nor NaN
            raise LogError(f'{path}, line {number} is not a JSON object with a step: {line[:80]!r}')
        rows.append(row)
    return rows


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


def _keys_to_show(runs: Mapping[str, TrainingLog], wanted: Sequence[str] | None) -> list[str]:
    known = list(dict.fromkeys(key for run in runs.values() for key in run.keys()))
    if not wanted:
        return [key for key in TOTALS if key in known] or known[:1]
    for key in wanted:
        if key not in known:
            raise ValueError(f'No run has logged {key!r}. Known: {", ".join(known)}')
    return list(dict.fromkeys(wanted))


def plot_logs(
    runs: Mapping[str, TrainingLog], keys: Sequence[str], path: str | os.PathLike, window: int = 0
) -> None:
    """One panel per key, over iterations or (metrics) epochs; runs that lack it are left out.

    Training values but the learning rate are averaged over `window` rows, if that is more than 1;
    the raw ones stay, thin. TensorBoard does not lay runs on one picture for a report.
    """
    with png_figure(path, (9, 0.6 + 3.2 * len(keys)), len(keys)) as axes:
        for axis, key in zip(axes, keys, strict=True):
            by_epoch = False
            for i, (name, run) in enumerate(runs.items()):
                steps, values = run.curve(key)
                if len(steps) == 0:
                    continue
                by_epoch = run.by_epoch(key)
                marker = 'o' if by_epoch or len(steps) == 1 else None
                if window > 1 and not by_epoch and not key.endswith('lr'):
                    axis.plot(steps, values, color=f'C{i}', alpha=0.25, linewidth=1)
                    values = smooth(values, window)
                axis.plot(steps, values, color=f'C{i}', marker=marker, markersize=4, label=name)
            axis.set(title=key, xlabel='epoch' if by_epoch else 'iteration')
            if by_epoch:
                axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend()


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over `window` neighbours, centred (so that nothing lags); over fewer at both ends."""
    half = window // 2
    box, inside = np.ones(2 * half + 1), slice(half, half + len(values))
    return np.convolve(values, box)[inside] / np.convolve(np.ones(len(values)), box)[inside]


def _summary(
    runs: Mapping[str, TrainingLog], keys: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Column names, and one row per run: length, time, memory, last and best of each key."""
    names = ['run', 'iterations', 'epochs', 's/iter mean', 's/iter median', 'memory MB']
    for key in keys:
        names += [f'{key} last', f'{key} best']
    return names, [[name, *_summary_row(run, keys)] for name, run in runs.items()]


def _summary_row(run: TrainingLog, keys: Sequence[str]) -> Iterable[str]:
    time, memory = run.curve('time')[1], run.curve('memory')[1]
    for rows in (run.train, run.val):
        yield f'{rows[-1]["step"]:,.0f}' if rows else '-'
    yield f'{time.mean():.3f}' if len(time) else '-'
    yield f'{np.median(time):.3f}' if len(time) else '-'
    yield f'{memory.max():,.0f}' if len(memory) else '-'
    for key in keys:
        values, best = run.curve(key)[1], run.best(key)
        yield f'{values[-1]:.4g}' if len(values) else '-'
        unit = 'epoch' if run.by_epoch(key) else 'iter'
        yield '-' if best is None else f'{best[0]:.4g} ({unit} {best[1]:,})'


def _points(runs: Mapping[str, TrainingLog], keys: Sequence[str]) -> Iterable[list]:
    for name, run in runs.items():
        for key in keys:
            axis = 'epoch' if run.by_epoch(key) else 'iteration'
            for step, value in zip(*run.curve(key), strict=True):
                yield [name, key, axis, int(step), '' if math.isnan(value) else float(value)]
