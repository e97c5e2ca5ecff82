"""Curves and bars as PNG, by matplotlib; nothing opens a window."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from mmdet.core.fileio import atomic_write
from mmdet.evaluation.vid_ap import SPEEDS
from mmdet.visualization.fonts import default_font, font_for, readable_names
from mmdet.visualization.palette import class_hex

MOST_NUMBERS = 45  # rows of a confusion matrix in which numbers can still be read
STYLE = {
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
Path = str | os.PathLike  # of the PNG to write


@contextmanager
def png_figure(
    path: Path, size: tuple[float, float], rows: int = 1, texts: Sequence[str] = ()
) -> Iterator[list]:
    """Axes to draw on; the PNG appears when the block ends. Leaves pyplot's state alone.

    `texts` are class names that will stand in it and may need a font of their own.
    """
    with matplotlib.rc_context({**STYLE, 'font.family': _families(texts)}):
        figure = Figure(figsize=size, dpi=150, layout='constrained')
        yield list(figure.subplots(rows, 1, squeeze=False)[:, 0])
        with atomic_write(path, 'wb') as file:
            figure.savefig(file, format='png')


def _families(texts: Sequence[str]) -> list[str]:
    """matplotlib's names of the fonts that the texts need, the first one first."""
    families = ['DejaVu Sans']
    for path in dict.fromkeys(map(font_for, texts)):
        if path is not None and path != default_font():
            font_manager.fontManager.addfont(path)
            families.append(font_manager.FontProperties(fname=path).get_name())
    return families


def plot_ap_by_motion(runs: Mapping[str, Mapping], path: Path) -> None:
    """AP50 of the VID protocol for all, fast, medium and slow objects, one bar per run.

    `runs` are contents of `metrics.json` by the name of the run. A missing value is shown as n/a.
    """
    keys = {'all': 'vid/AP50', **{speed: f'vid/AP50_{speed}' for speed in SPEEDS}}
    _plot_ap(runs, keys, 'AP50 by motion (VID protocol)', path)


def plot_ap_by_size(runs: Mapping[str, Mapping], path: Path) -> None:
    """AP of the COCO protocol for all, small, medium and large objects, one bar per run."""
    keys = {'all': 'coco/AP', 'small': 'coco/AP_s', 'medium': 'coco/AP_m', 'large': 'coco/AP_l'}
    _plot_ap(runs, keys, 'AP by size of the object (COCO protocol)', path)


def _plot_ap(runs: Mapping[str, Mapping], keys: Mapping[str, str], title: str, path: Path) -> None:
    ap = {name: [run.get(key) for key in keys.values()] for name, run in runs.items()}
    values = {name: [math.nan if v is None else 100 * v for v in ap[name]] for name in runs}
    with png_figure(path, (7, 4)) as (axis,):
        _draw_groups(axis, values, list(keys), _number)
        axis.set(title=title, ylabel=f'{title.split()[0]} (%)', ylim=(0, 109))
        axis.set_yticks(range(0, 101, 20))


def plot_counts(
    counts: Mapping[str, Sequence[int]], labels: Sequence[str], path: Path, title: str
) -> None:
    """Numbers of something, one bar per run: a number per label by the name of the run."""
    with png_figure(path, (7, 3.6)) as (axis,):
        _draw_groups(axis, counts, labels, '{:,}'.format)
        axis.set(title=title)
        axis.margins(y=0.12)


def _draw_groups(
    axis,
    runs: Mapping[str, Sequence[float]],
    labels: Sequence[str],
    text: Callable[[float], str],
) -> None:
    """Bars in groups: one group per label, in it one bar per run, above it the text."""
    width = 0.8 / len(runs)
    for i, (name, values) in enumerate(runs.items()):
        x = np.arange(len(labels)) + (i - (len(runs) - 1) / 2) * width
        bars = axis.bar(x, np.nan_to_num(values), width * 0.92, label=name)
        axis.bar_label(bars, [text(value) for value in values], padding=2)
    axis.set_xticks(range(len(labels)), labels)
    axis.grid(axis='x', visible=False)
    if len(runs) > 1:
        axis.legend(loc='lower right', bbox_to_anchor=(1, 1), ncols=len(runs))


def plot_ap_by_class(metrics: Mapping, path: Path) -> None:
    """AP50 of each class (VID protocol), best first, in the colours of the drawings.

    `metrics` are contents of one `metrics.json` (`vid/AP50/<class>`, in label order). Classes
    without objects (None) are counted in the title and left out.

    Raises:
        ValueError: no such keys.
    """
    prefix = 'vid/AP50/'
    values = {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}
    if not values:
        raise ValueError(f'No key starts with {prefix!r}. Given: {", ".join(metrics) or "none"}.')
    names = readable_names(tuple(values))
    shown = [
        (100 * value, name, class_hex(label))
        for label, (name, value) in enumerate(zip(names, values.values(), strict=True))
        if value is not None
    ]
    shown.sort(key=lambda row: row[0])
    empty = len(values) - len(shown)
    note = f'; {empty} classes without objects' if empty else ''
    with png_figure(path, (7, 1.2 + 0.27 * len(shown)), texts=names) as (axis,):
        heights = [height for height, _, _ in shown]
        bars = axis.barh(range(len(shown)), heights, 0.72, color=[color for _, _, color in shown])
        axis.bar_label(bars, map(_number, heights), padding=3)
        axis.set(title=f'AP50 by class (VID protocol{note})', xlabel='AP50 (%)', xlim=(0, 108))
        axis.set_yticks(range(len(shown)), [name for _, name, _ in shown])
        axis.set_ylim(-0.6, len(shown) - 0.4)
        axis.grid(axis='y', visible=False)


def plot_precision_recall(
    recall: np.ndarray,
    classes: Mapping[str, np.ndarray],
    means: Mapping[str, np.ndarray],
    path: Path,
    title: str,
) -> None:
    """Precision over recall, both [N] in 0..1: of classes by name (in label order, which decides
    the colour; NaN is left out), and means by the name of the run as bold lines.
    """
    names = readable_names(tuple(classes))
    with png_figure(path, (8, 5), texts=names) as (axis,):
        for label, (name, precision) in enumerate(zip(names, classes.values(), strict=True)):
            if not np.isnan(precision).all():
                axis.plot(recall, precision, color=class_hex(label), linewidth=1.2, label=name)
        for (name, precision), color in zip(means.items(), ('black', 'grey'), strict=False):
            axis.plot(recall, precision, color=color, linewidth=2.6, label=name)
        axis.set(title=title, xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
        axis.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), ncols=1 + len(classes) // 18)


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path, title: str) -> None:
    """The counts of `confusion_matrix`, on colours that say which part of its row each is.

    Classes without objects and detections are left out.
    """
    used = np.append(np.flatnonzero((matrix.sum(axis=0) + matrix.sum(axis=1))[:-1]), len(classes))
    matrix = matrix[np.ix_(used, used)]
    names = [*readable_names(classes), 'background']
    names = [names[i] for i in used]
    part = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.42 * len(names)
    with png_figure(path, (side + 0.8, side), texts=names) as (axis,):
        image = axis.imshow(part, cmap='Blues', vmin=0, vmax=1)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.set(title=title, xlabel='detected as', ylabel='object is')
        axis.grid(visible=False)
        axis.axhline(len(names) - 1.5, color='#555555', linewidth=1)
        axis.axvline(len(names) - 1.5, color='#555555', linewidth=1)
        axis.figure.colorbar(image, ax=axis, shrink=0.7, label='part of the row')
        if len(names) > MOST_NUMBERS:
            return
        for row, column in zip(*np.nonzero(matrix), strict=True):
            count = matrix[row, column]
            text = f'{count}' if count < 10_000 else f'{count / 1000:.0f}k'
            color = 'white' if part[row, column] > 0.55 else 'black'
            axis.text(column, row, text, ha='center', va='center', color=color, fontsize=7)


def _number(value: float) -> str:
    return 'n/a' if math.isnan(value) else f'{value:.1f}'
