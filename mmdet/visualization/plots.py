"""Curves and bars as PNG: losses from a training log, AP from metrics.json, precision/recall.

matplotlib is imported when a plot is drawn, never before, and never opens a window.
"""

import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmdet.core.fileio import atomic_write
from mmdet.visualization.fonts import families_for, readable_names
from mmdet.visualization.palette import class_color

MOTION_BINS = ('fast', 'medium', 'slow')
SIZE_BINS = ('all', 'small', 'medium', 'large')
_RUN_COLORS = ('#1f6fb4', '#d95f02', '#1b9e77', '#c22d80', '#6f5bb0', '#8c6d1f')
_STYLE = {
    'font.size': 10,
    'axes.titlesize': 11,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e4e4e4',
    'legend.frameon': False,
    'text.parse_math': False,  # names may hold two dollar signs
}


def read_log(path: str | os.PathLike) -> list[dict]:
    """The rows of a training log (`vis_data/*.json`, one JSON object per line).

    A half-written last line (the run is still going, or was killed) is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is not JSON, or a file without a row.
    """
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f'{path}, line {number} is not JSON: {line[:80]!r}') from None
    if not rows:
        raise ValueError(f'{path} holds no rows yet: nothing was logged.')
    return rows


def find_training_log(work_dir: str | os.PathLike) -> Path:
    """The newest log below a work dir that has training in it (tests write logs there, too).

    Raises:
        FileNotFoundError: there is none.
    """
    logs = Path(work_dir).glob('*/vis_data/scalars.json')
    for path in sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True):
        if path.stat().st_size and any('loss' in row for row in read_log(path)):
            return path
    raise FileNotFoundError(f'{work_dir} holds no training log (*/vis_data/scalars.json).')


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over `window` neighbours, centred (so that nothing lags); shorter at both ends."""
    half = window // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    start, end = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[end] - sums[start]) / (end - start)


def plot_training(logs: Mapping[str, Sequence[dict]], path: str | os.PathLike) -> None:
    """Total loss, its parts (for one run), and the learning rate over iterations.

    Args:
        logs: rows of `read_log` by the name of the run; several runs are drawn over each other.
        path: the PNG to write.

    Raises:
        ValueError: a run without training rows.
    """
    with png_figure(path, 2, heights=(3, 1), size=(9, 6.5), share_x=True) as (loss_axis, rate_axis):
        for (name, rows), color in zip(logs.items(), run_colors(len(logs)), strict=True):
            train = [row for row in rows if 'loss' in row]
            if not train:
                raise ValueError(f'The log of {name!r} has no row with a loss: no training in it.')
            steps = _column(train, 'step')
            loss = _column(train, 'loss')
            loss_axis.plot(steps, loss, color=color, alpha=0.25, linewidth=1)
            label = 'total loss' if len(logs) == 1 else name
            mean = smooth(loss, len(loss) // 20)
            loss_axis.plot(steps, mean, color=color, linewidth=2, label=label)
            rate_axis.plot(steps, _column(train, 'lr'), color=color, linewidth=1.5)
            if len(logs) == 1:
                _plot_parts(loss_axis, train, steps)
        loss_axis.set(title='Training loss (thin: as logged, bold: moving average)', ylim=(0, None))
        loss_axis.legend(loc='upper right')
        rate_axis.set(title='Learning rate', xlabel='iteration')
        rate_axis.ticklabel_format(axis='y', scilimits=(-2, 2))


def _plot_parts(axis, rows: Sequence[dict], steps: np.ndarray) -> None:
    parts = [key for key in rows[0] if key.startswith('loss_')]
    for key, color in zip(parts, run_colors(len(parts), start=1), strict=True):
        values = smooth(_column(rows, key), len(rows) // 20)
        axis.plot(steps, values, color=color, linewidth=1.2, label=key)


def plot_ap_by_motion(metrics: Mapping[str, Mapping], path: str | os.PathLike) -> None:
    """AP50 of the VID protocol for all, fast, medium and slow objects, one bar per run.

    Args:
        metrics: the contents of `metrics.json` by the name of the run (`vid/AP50`,
            `vid/AP50_fast`, ... in 0..1). A missing value or None is shown as n/a.
        path: the PNG to write.
    """
    keys = ['vid/AP50'] + [f'vid/AP50_{name}' for name in MOTION_BINS]
    _plot_ap_groups(metrics, keys, ['all', *MOTION_BINS], 'AP50 by motion (VID protocol)', path)


def plot_ap_by_size(metrics: Mapping[str, Mapping], path: str | os.PathLike) -> None:
    """AP of the COCO protocol for all, small, medium and large objects, one bar per run.

    Args:
        metrics: as of `plot_ap_by_motion`: `coco/AP`, `coco/AP_s`, ...
        path: the PNG to write.
    """
    keys = ['coco/AP', 'coco/AP_s', 'coco/AP_m', 'coco/AP_l']
    _plot_ap_groups(metrics, keys, SIZE_BINS, 'AP by size of the object (COCO protocol)', path)


def _plot_ap_groups(
    metrics: Mapping[str, Mapping],
    keys: Sequence[str],
    labels: Sequence[str],
    title: str,
    path: str | os.PathLike,
) -> None:
    runs = {name: [_percent(values.get(key)) for key in keys] for name, values in metrics.items()}
    with png_figure(path, 1, size=(7, 4)) as (axis,):
        draw_groups(axis, runs, labels, _number)
        axis.set(title=title, ylabel=f'{title.split()[0]} (%)', ylim=(0, 109))
        axis.set_yticks(range(0, 101, 20))


def draw_groups(
    axis,
    runs: Mapping[str, Sequence[float]],
    labels: Sequence[str],
    text: Callable[[float], str],
) -> None:
    """Bars in groups: one group per label, in it one bar per run.

    Args:
        axis: of matplotlib.
        runs: a value per label, NaN for none, by the name of the run.
        labels: under the groups.
        text: what stands above a bar of that value.
    """
    width = 0.8 / len(runs)
    for i, ((name, values), color) in enumerate(
        zip(runs.items(), run_colors(len(runs)), strict=True)
    ):
        x = np.arange(len(labels)) + (i - (len(runs) - 1) / 2) * width
        bars = axis.bar(x, np.nan_to_num(values), width * 0.92, color=color, label=name)
        axis.bar_label(bars, [text(value) for value in values], padding=2)
    axis.set_xticks(range(len(labels)), labels)
    axis.grid(axis='x', visible=False)
    if len(runs) > 1:
        axis.legend(loc='lower right', bbox_to_anchor=(1, 1), ncols=len(runs))


def plot_ap_by_class(metrics: Mapping, path: str | os.PathLike) -> None:
    """AP50 of each class (VID protocol), best first, in the colours of the drawings.

    Args:
        metrics: the contents of one `metrics.json` (`vid/AP50/<class>` in 0..1, in label order).
            Classes without objects (None) are counted in the title and left out.
        path: the PNG to write.

    Raises:
        ValueError: no such keys.
    """
    prefix = 'vid/AP50/'
    values = {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}
    if not values:
        raise ValueError(f'No key starts with {prefix!r}. Given: {", ".join(metrics) or "none"}.')
    values = dict(zip(readable_names(tuple(values)), values.values(), strict=True))
    colors = {name: _hex(class_color(i)) for i, name in enumerate(values)}
    shown = {name: 100 * value for name, value in values.items() if value is not None}
    names = sorted(shown, key=shown.get)
    empty = len(values) - len(names)
    note = f'; {empty} classes without objects' if empty else ''
    with png_figure(path, 1, size=(7, 1.2 + 0.27 * len(names)), texts=names) as (axis,):
        heights = [shown[name] for name in names]
        bars = axis.barh(names, heights, 0.72, color=[colors[n] for n in names])
        axis.bar_label(bars, [_number(h) for h in heights], padding=3)
        axis.set(title=f'AP50 by class (VID protocol{note})', xlabel='AP50 (%)', xlim=(0, 108))
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.grid(axis='y', visible=False)


def plot_precision_recall(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: str | os.PathLike,
    title: str = 'Precision and recall',
    means: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> None:
    """Precision over recall.

    Args:
        curves: (recall, precision), each [N] in 0..1, recall ascending, by the name of the class,
            in label order, which decides the colour. Those that are NaN are left out.
        path: the PNG to write.
        title: above the plot.
        means: likewise, by the name of the run: bold lines over those of the classes.
    """
    means = means or {}
    names = readable_names(tuple(curves))
    with png_figure(path, 1, size=(8, 5), texts=names) as (axis,):
        for i, (name, (recall, precision)) in enumerate(zip(names, curves.values(), strict=True)):
            if not np.isnan(precision).all():
                color = _hex(class_color(i))
                axis.plot(recall, precision, color=color, linewidth=1.2, label=name)
        styles = zip(means.items(), ('#000000', '#777777'), strict=False)
        for (name, (recall, precision)), color in styles:
            axis.plot(recall, precision, color=color, linewidth=2.6, label=name)
        axis.set(title=title, xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
        axis.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), ncols=1 + len(curves) // 18)


@contextmanager
def png_figure(
    path: str | os.PathLike,
    rows: int,
    size: tuple[float, float],
    heights: Sequence[float] = (1,),
    share_x: bool = False,
    texts: Sequence[str] = (),
) -> Iterator[list]:
    """Axes to draw on; the PNG appears when the block ends. Leaves pyplot's state alone.

    `texts` are class names that will stand in it and may need a font of their own.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, 'font.family': families_for(texts)}):
        figure = Figure(figsize=size, dpi=150, layout='constrained')
        FigureCanvasAgg(figure)
        ratios = {'height_ratios': heights} if rows > 1 else {}
        axes = figure.subplots(rows, 1, squeeze=False, sharex=share_x, gridspec_kw=ratios)
        yield list(axes[:, 0])
        png = io.BytesIO()
        figure.savefig(png, format='png')
    with atomic_write(path, 'wb') as file:
        file.write(png.getbuffer())


def _column(rows: Sequence[dict], key: str) -> np.ndarray:
    return np.array([row.get(key, math.nan) for row in rows], dtype=float)


def _percent(value: float | None) -> float:
    return math.nan if value is None else 100 * value


def _number(value: float) -> str:
    return 'n/a' if math.isnan(value) else f'{value:.1f}'


def _hex(bgr: tuple[int, int, int]) -> str:
    return '#{2:02x}{1:02x}{0:02x}'.format(*bgr)


def run_colors(count: int, start: int = 0) -> list[str]:
    """Colours of runs in a plot; they repeat after six."""
    return [_RUN_COLORS[(start + i) % len(_RUN_COLORS)] for i in range(count)]
