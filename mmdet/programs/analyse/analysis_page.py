"""What an analysis shows in its folder: plots, drawn frames, and the page around them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mmdet.core.fileio import atomic_write
from mmdet.core.images import write_image
from mmdet.core.progress import FrameProgress
from mmdet.programs.analyse.analysis import RECALL, Analysis
from mmdet.programs.analyse.drawn_frames import DrawnFrames
from mmdet.programs.analyse.mistakes import KINDS
from mmdet.programs.analyse.plots import (
    plot_ap_by_class,
    plot_ap_by_motion,
    plot_ap_by_size,
    plot_confusion,
    plot_counts,
    plot_precision_recall,
)
from mmdet.programs.analyse.tables import ap_table
from mmdet.programs.analyse.worst import Worst
from mmdet.programs.templates import html_template

OURS, BASELINE = 'ours', 'baseline'


def write_plots(folder: Path, runs: Mapping[str, Analysis], score_thr: float) -> None:
    """Curves and bars of all runs, and the confusions of ours."""
    ours, classes = runs[OURS], runs[OURS].objects.classes
    metrics = {name: run.scores.metrics() for name, run in runs.items()}
    plot_ap_by_motion(metrics, folder / 'ap_by_motion.png')
    plot_ap_by_class(metrics[OURS], folder / 'ap_by_class.png')
    if ours.scores.coco is not None:
        plot_ap_by_size(metrics, folder / 'ap_by_size.png')
    plot_precision_recall(
        RECALL,
        dict(zip(classes, ours.precision, strict=True)),
        {f'mean, {name}': run.mean_precision() for name, run in runs.items()},
        folder / 'pr_curves.png',
        'Precision and recall at IoU 0.5 (VID protocol)',
    )
    title = f'Confusions (score from {score_thr:g})'
    plot_confusion(ours.confusion, classes, folder / 'confusion.png', title)
    counts = {name: _mistake_counts(run) for name, run in runs.items()}
    title = f'Mistakes (score from {score_thr:g})'
    plot_counts(counts, [*KINDS, 'missed'], folder / 'mistakes.png', title)


def draw_frames(
    folder: Path, runs: Mapping[str, Analysis], frames: DrawnFrames, worst: Worst
) -> dict[str, list[str]]:
    """Draw the worst mistakes of ours and the largest differences; names of the files by folder."""
    ours = runs[OURS]
    both = {name: runs[name] for name in (BASELINE, OURS) if name in runs}
    draws: dict[str, tuple[np.ndarray, Callable[[int], np.ndarray]]] = {
        'false_positives': (worst.false, lambda number: frames.false_positive(ours, number)),
        'missed': (worst.missed, lambda obj: frames.miss(ours, obj)),
        'compared': (worst.compared, lambda image: frames.beside(both, image)),
    }
    drawn: dict[str, list[str]] = {}
    total = sum(len(rows) for rows, _ in draws.values())
    with FrameProgress(total, 'Drawing') as progress:
        for kind, (rows, draw) in draws.items():
            drawn[kind] = [f'{kind}/{number:03d}.png' for number in range(1, len(rows) + 1)]
            for name, row in zip(drawn[kind], rows, strict=True):
                write_image(folder / name, draw(int(row)))
                progress.advance(1)
            for old in (folder / kind).glob('[0-9][0-9][0-9].png'):  # of an earlier run
                if int(old.stem) > len(rows):
                    old.unlink()
    return drawn


def write_page(
    folder: Path, runs: Mapping[str, Analysis], drawn: Mapping[str, list[str]], lead: str
) -> Path:
    """Write `index.html`; `drawn` is of `draw_frames`, or empty."""
    names, rows = ap_table(runs)
    shown = [[*row[:3], *map(_three_digits, row[3:])] for row in rows if row[0] != 'class']
    plots = ['ap_by_motion.png', 'ap_by_size.png', 'ap_by_class.png']
    if runs[OURS].scores.coco is None:
        plots.remove('ap_by_size.png')
    objects = len(runs[OURS].objects.label)
    mistakes = [[name, *_mistake_counts(run), objects] for name, run in runs.items()]
    template = html_template(Path(__file__).with_name('analysis.html'))
    path = folder / 'index.html'
    with atomic_write(path) as file:
        file.write(
            template.render(
                lead=lead,
                ap=(names, shown),
                ap_plots=plots,
                mistakes=(['run', *KINDS, 'missed', 'objects'], mistakes),
                drawn=drawn,
                compared=BASELINE in runs,
            )
        )
    return path


def _mistake_counts(run: Analysis) -> list[int]:
    """Of each kind of false positives, then of missed objects."""
    kinds = np.bincount(run.mistakes.kind, minlength=len(KINDS)).tolist()
    return [*kinds, len(run.mistakes.missed)]


def _three_digits(text: str) -> str:
    """For the page; - stands where there is no object."""
    return (text or '-') if text in ('', 'n/a') else f'{float(text):.3f}'
