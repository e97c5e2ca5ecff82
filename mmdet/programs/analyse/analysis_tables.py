"""The numbers of an analysis as CSV files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmdet.evaluation.evaluate import ScoredSet
from mmdet.evaluation.report import Scores, write_csv
from mmdet.evaluation.vid_ap import SPEEDS
from mmdet.programs.analyse.analysis import Analysis
from mmdet.programs.analyse.mistakes import KINDS

SIZES = {'small': 'AP_s', 'medium': 'AP_m', 'large': 'AP_l'}
MOST_ROWS = 10_000  # of a list of mistakes


def write_tables(
    folder: Path, runs: Mapping[str, Analysis], scored: ScoredSet, ours: Analysis
) -> None:
    """Write `ap.csv` (of all runs), and of ours `pr_curves.csv`, `confusion.csv`,
    `false_positives.csv` and `missed.csv`.
    """
    write_csv(folder / 'ap.csv', *ap_table(runs))
    curves, classes = ours.curves, ours.objects.classes
    columns = [curves.recall, curves.mean, *curves.precision]
    rows = [[_rounded(value) for value in row] for row in zip(*columns, strict=True)]
    write_csv(folder / 'pr_curves.csv', ['recall', 'mean', *classes], rows)
    names = [*classes, 'background']
    rows = [[name, *row] for name, row in zip(names, ours.confusion.tolist(), strict=True)]
    write_csv(folder / 'confusion.csv', ['object is / detected as', *names], rows)
    write_csv(folder / 'false_positives.csv', *_false_positives(ours, scored))
    write_csv(folder / 'missed.csv', *_missed(ours, scored))


def ap_table(runs: Mapping[str, Analysis]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: the same rows as `ap_rows`, one column of AP per run."""
    tables = [ap_rows(run.scores) for run in runs.values()]
    rows = [[*same[0][:3], *[row[3] for row in same]] for same in zip(*tables, strict=True)]
    return ['by', 'name', 'metric', *runs], rows


def ap_rows(scores: Scores) -> list[list[str]]:
    """[by what, which, metric, AP in 0..1]: all, by motion, by size and by class.

    The AP is as exact as in `metrics.json`; '' where there is no object, n/a without track ids.
    """
    metrics = scores.metrics()
    unknown = [] if 'fast' in scores.vid.ranges else list(SPEEDS)
    rows = [['all', 'all', 'AP50 (VID)', _text(metrics['vid/AP50'])]]
    if scores.coco is not None:
        for name in ('AP50', 'AP75', 'AP'):
            rows.append(['all', 'all', f'{name} (COCO)', _text(metrics[f'coco/{name}'])])
    for speed in SPEEDS:
        value = 'n/a' if speed in unknown else _text(metrics[f'vid/AP50_{speed}'])
        rows.append(['motion', speed, 'AP50 (VID)', value])
    if scores.coco is not None:
        for size, key in SIZES.items():
            rows.append(['size', size, 'AP (COCO)', _text(metrics[f'coco/{key}'])])
    names, per_class = scores.per_class()
    for row in per_class:
        for metric, value in zip(names[3:], row[3:], strict=True):
            known = 'n/a' if value is None else _text(value)
            rows.append(['class', row[0], metric, known])
    return rows


def _text(value: float | None) -> str:
    return '' if value is None or np.isnan(value) else repr(float(value))


def _rounded(value: float) -> str:
    return '' if np.isnan(value) else f'{value:.6g}'


def speed_of(motion: np.ndarray | None, obj: int) -> str:
    """Name of the speed of an object, n/a if motion is not known."""
    if motion is None:
        return 'n/a'
    inside = (name for name, (_, high) in SPEEDS.items() if motion[obj] <= high)
    return next(inside, 'slow')  # 1 may be exceeded by rounding


def _false_positives(run: Analysis, scored: ScoredSet) -> tuple[list[str], list[list]]:
    """Best score first."""
    mistakes, found, rows = run.mistakes, run.detections, []
    for false, kind, iou, near in zip(
        mistakes.false[:MOST_ROWS], mistakes.kind, mistakes.iou, mistakes.near, strict=False
    ):
        about = '' if near < 0 else run.objects.classes[run.objects.label[near]]
        file_name = scored.file_name(found.image[false])
        name = run.objects.classes[found.label[false]]
        overlap = '' if near < 0 else f'{iou:.4f}'
        values = [file_name, name, f'{found.score[false]:.6g}', KINDS[kind], about, overlap]
        rows.append([*values, *_sides(found.boxes[false])])
    names = ['file_name', 'class', 'score', 'kind', 'object', 'iou', 'x1', 'y1', 'x2', 'y2']
    return names, rows


def _missed(run: Analysis, scored: ScoredSet) -> tuple[list[str], list[list]]:
    """Largest part of the frame first."""
    objects, areas, rows = run.objects, scored.image_areas(), []
    for obj in run.mistakes.missed[:MOST_ROWS]:
        image, score = objects.image[obj], run.mistakes.found[obj]
        rows.append(
            [
                scored.file_name(image),
                objects.classes[objects.label[obj]],
                f'{objects.area[obj] / areas[image]:.6g}',
                speed_of(objects.motion, obj),
                _rounded(score),
                *_sides(objects.boxes[obj]),
            ]
        )
    names = ['file_name', 'class', 'part of the frame', 'motion', 'found with score']
    return [*names, 'x1', 'y1', 'x2', 'y2'], rows


def _sides(box: np.ndarray) -> list[str]:
    return [f'{side:.2f}' for side in box]
