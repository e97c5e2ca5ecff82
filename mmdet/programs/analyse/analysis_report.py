"""The folder of an analysis: tables, plots, frames and the page that shows them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from mmdet.core.fileio import atomic_write
from mmdet.core.progress import FrameProgress
from mmdet.evaluation.evaluate import ScoredSet
from mmdet.programs.analyse.analysis import Analysis
from mmdet.programs.analyse.analysis_page import Section, html_page
from mmdet.programs.analyse.analysis_plots import plot_confusion, plot_counts
from mmdet.programs.analyse.analysis_tables import ap_table, write_tables
from mmdet.programs.analyse.mistake_frames import MistakeFrames
from mmdet.programs.analyse.mistakes import KINDS
from mmdet.programs.analyse.showcase import Chosen
from mmdet.visualization.contact_sheet import write_picture
from mmdet.visualization.plots import (
    plot_ap_by_class,
    plot_ap_by_motion,
    plot_ap_by_size,
    plot_precision_recall,
)

OURS, BASELINE = 'ours', 'baseline'
FRAMES = ('false_positives', 'missed', 'compared')  # folders


class AnalysisReport:
    """Writes the folder part by part and remembers what the page must show."""

    def __init__(
        self, folder: Path, runs: Mapping[str, Analysis], scored: ScoredSet, score_thr: float
    ) -> None:
        self.folder, self.runs, self.scored, self.score_thr = folder, runs, scored, score_thr
        self.ours = runs[OURS]
        self.sections: list[Section] = []

    def write_numbers(self) -> None:
        write_tables(self.folder, self.runs, self.scored, self.ours)
        metrics = {name: run.scores.metrics() for name, run in self.runs.items()}
        self._plot_ap(metrics)
        self._plot_curves()
        self._plot_mistakes()

    def _plot_ap(self, metrics: Mapping[str, Mapping]) -> None:
        pictures = ['ap_by_motion.png', 'ap_by_class.png']
        plot_ap_by_motion(metrics, self.folder / pictures[0])
        plot_ap_by_class(metrics[OURS], self.folder / pictures[1])
        if self.ours.scores.coco is not None:
            plot_ap_by_size(metrics, self.folder / 'ap_by_size.png')
            pictures.insert(1, 'ap_by_size.png')
        names, rows = ap_table(self.runs)
        shown = [[*row[:3], *map(_three_digits, row[3:])] for row in rows if row[0] != 'class']
        self.sections.append(
            Section(
                'Average precision',
                'In 0..1. The two protocols must not be compared with each other.',
                pictures,
                (names, shown),
                ['ap.csv'],
            )
        )

    def _plot_curves(self) -> None:
        curves = self.ours.curves
        by_class = zip(self.ours.objects.classes, curves.precision, strict=True)
        plot_precision_recall(
            {name: (curves.recall, precision) for name, precision in by_class},
            self.folder / 'pr_curves.png',
            'Precision and recall at IoU 0.5 (VID protocol)',
            {f'mean, {n}': (r.curves.recall, r.curves.mean) for n, r in self.runs.items()},
        )
        text = 'The area below each curve is the AP50 of the VID protocol.'
        self.sections.append(
            Section('Precision and recall', text, ['pr_curves.png'], files=['pr_curves.csv'])
        )

    def _plot_mistakes(self) -> None:
        thr, ours = self.score_thr, self.ours
        title = f'Confusion matrix (score from {thr:g}, IoU 0.5)'
        plot_confusion(ours.confusion, ours.objects.classes, self.folder / 'confusion.png', title)
        counts = {
            name: [
                *np.bincount(run.mistakes.kind, minlength=len(KINDS)).tolist(),
                len(run.mistakes.missed),
            ]
            for name, run in self.runs.items()
        }
        title = f'Mistakes (score from {thr:g})'
        plot_counts(counts, [*KINDS, 'missed'], self.folder / 'mistakes.png', title)
        text = (
            'Duplicate: the object has a better detection. Wrong class: IoU 0.5 with an object of '
            'another class. Poor localisation: IoU 0.1 to 0.5 with an object of the class. '
            'Background: none of these. In the matrix an object counts as what the surest '
            'detection on it says; the row of the background holds all other detections.'
        )
        names = ['run', *KINDS, 'missed', 'objects']
        rows = [[name, *row, len(ours.objects.label)] for name, row in counts.items()]
        files = ['confusion.csv', 'false_positives.csv', 'missed.csv']
        pictures = ['confusion.png', 'mistakes.png']
        self.sections.append(
            Section('Confusions and mistakes', text, pictures, (names, rows), files)
        )

    def draw(self, pictures: MistakeFrames, chosen: Chosen) -> None:
        """Write the frames, one after the other."""
        ours = self.ours
        runs = {name: self.runs[name] for name in (BASELINE, OURS) if name in self.runs}
        draws: list[tuple[str, str, np.ndarray, Callable[[int], np.ndarray]]] = [
            (
                'Worst false positives',
                'Highest score first. Red: the false positive, white dashes: ground truth, grey: '
                'other detections. The same class and kind in a video is shown again only when '
                'nothing else is left.',
                chosen.false,
                lambda number: pictures.false_positive(ours, number),
            ),
            (
                'Worst misses',
                'Largest part of the frame first. Red: the missed object.',
                chosen.missed,
                lambda obj: pictures.miss(ours, obj),
            ),
            (
                'Frames where the runs differ most',
                'By objects that only one run finds and by numbers of false positives.',
                chosen.compared,
                lambda image: pictures.beside(runs, image),
            ),
        ]
        total = sum(len(rows) for _, _, rows, _ in draws)
        with FrameProgress(total, 'Drawing') as progress:
            for folder, (title, text, rows, draw) in zip(FRAMES, draws, strict=True):
                names = list(self._write_frames(folder, rows, draw, progress))
                if folder != FRAMES[2] or BASELINE in self.runs:
                    text = text if names else 'There are none.'
                    self.sections.append(Section(title, text, names, wide=folder == FRAMES[2]))

    def _write_frames(
        self,
        folder: str,
        rows: np.ndarray,
        draw: Callable[[int], np.ndarray],
        progress: FrameProgress,
    ) -> Iterator[str]:
        for number, row in enumerate(rows, 1):
            name = f'{folder}/{number:03d}.png'
            write_picture(self.folder / name, draw(int(row)))
            progress.advance(1)
            yield name
        for old in (self.folder / folder).glob('[0-9][0-9][0-9].png'):  # of an earlier run
            if int(old.stem) > len(rows):
                old.unlink()

    def write_page(self, lead: str) -> Path:
        path = self.folder / 'index.html'
        with atomic_write(path) as file:
            file.write(html_page('Analysis of detection results', lead, self.sections))
        return path


def _three_digits(text: str) -> str:
    """For the page; - stands where there is no object."""
    return (text or '-') if text in ('', 'n/a') else f'{float(text):.3f}'
