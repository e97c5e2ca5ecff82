"""Pictures of what a detector confuses and gets wrong."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from mmdet.visualization.fonts import readable_names
from mmdet.visualization.plots import draw_groups, png_figure

MOST_NUMBERS = 45  # rows of a confusion matrix in which numbers can still be read


def plot_confusion(
    matrix: np.ndarray, classes: Sequence[str], path: str | os.PathLike, title: str
) -> None:
    """The counts, on colours that say which part of its row each is.

    Args:
        matrix: [C + 1, C + 1] of `confusion_matrix`. Classes without objects and detections are
            left out.
        classes: C names.
        path: the PNG to write.
        title: above the plot.
    """
    used = np.append(np.flatnonzero((matrix.sum(axis=0) + matrix.sum(axis=1))[:-1]), len(classes))
    matrix = matrix[np.ix_(used, used)]
    names = [*readable_names(classes), 'background']
    names = [names[i] for i in used]
    part = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.42 * len(names)
    with png_figure(path, 1, size=(side + 0.8, side), texts=names) as (axis,):
        image = axis.imshow(part, cmap='Blues', vmin=0, vmax=1)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.set(title=title, xlabel='detected as', ylabel='object is')
        axis.grid(visible=False)
        axis.axhline(len(names) - 1.5, color='#555555', linewidth=1)
        axis.axvline(len(names) - 1.5, color='#555555', linewidth=1)
        axis.figure.colorbar(image, ax=axis, shrink=0.7, label='part of the row')
        if len(names) <= MOST_NUMBERS:
            _write_counts(axis, matrix, part)


def _write_counts(axis, matrix: np.ndarray, part: np.ndarray) -> None:
    for row, column in zip(*np.nonzero(matrix), strict=True):
        count = int(matrix[row, column])
        color = 'white' if part[row, column] > 0.55 else 'black'
        text = str(count) if count < 10_000 else f'{count / 1000:.0f}k'
        axis.text(column, row, text, ha='center', va='center', color=color, fontsize=7)


def plot_counts(
    counts: Mapping[str, Sequence[int]],
    labels: Sequence[str],
    path: str | os.PathLike,
    title: str,
) -> None:
    """Numbers of something, one bar per run.

    Args:
        counts: one number per label, by the name of the run.
        labels: under the bars.
        path: the PNG to write.
        title: above the plot.
    """
    with png_figure(path, 1, size=(7, 3.6)) as (axis,):
        draw_groups(axis, counts, labels, '{:,}'.format)
        axis.set(title=title)
        axis.margins(y=0.12)
