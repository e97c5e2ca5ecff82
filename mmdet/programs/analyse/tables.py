"""The numbers of an analysis as CSV files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmdet.evaluation.evaluate import ScoredSet
from mmdet.evaluation.report import Scores, write_csv
from mmdet.evaluation.vid_ap import SPEEDS
from mmdet.programs.analyse.analysis import RECALL, Analysis
from mmdet.programs.analyse.mistakes import KINDS

SIZES = {'small': 'AP_s', 'medium': 'AP_m', 'large': 'AP_l'}
MOST_ROWS = 10_000  # of a list of mistakes
SIDES = ('x1', 'y1', 'x2', 'y2')


def write_tables(
    folder: Path, runs: Mapping[str, Analysis], scored: ScoredSet, ours: Analysis
) -> None:
    """Write `ap.csv` (of all runs), and of ours `pr_curves.csv`, `confusion.csv`,
    `false_positives.csv` and `missed.csv`.
    """
    write_csv(folder / 'ap.csv', *ap_table(runs))
    classes = ours.objects.classes
    rows = zip(RECALL, ours.mean_precision(), *ours.precision, strict=True)
    rows = [[_rounded(value) for value in row] for row in rows]
    write_csv(folder / 'pr_curves.csv', ['recall', 'mean', *classes], rows)
    names = [*classes, 'background']
    rows = [[name, *row] for name, row in zip(names, ours.confusion.tolist(), strict=True)]
    write_csv(folder / 'confusion.csv', ['object is / detected as', *names], rows)
    write_csv(folder / 'false_positives.csv', *_false_positives(ours, scored))
    write_csv(folder / 'missed.csv', *_missed(ours, scored))


def ap_table(runs: Mapping[str, Analysis]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: all, by motion, by size and by class; one column of AP per run.

    The AP is as exact as in `metrics.json`; '' where there is no object, n/a without track ids.
    """
    tables = [_ap_rows(run.scores) for run in runs.values()]
    rows = [[*same[0][:3], *[row[3] for row in same]] for same in zip(*tables, strict=True)]
    return ['by', 'name', 'metric', *runs], rows


def _ap_rows(scores: Scores) -> list[list[str]]:
    """[by what, which, metric, AP in 0..1]."""
    metrics = scores.metrics()
    rows = [['all', 'all', 'AP50 (VID)', _exact(metrics['vid/AP50'])]]
    if scores.coco is not None:
        for name in ('AP50', 'AP75', 'AP'):
            rows.append(['all', 'all', f'{name} (COCO)', _exact(metrics[f'coco/{name}'])])
    for speed in SPEEDS:
        value = _exact(metrics[f'vid/AP50_{speed}']) if speed in scores.vid.ranges else 'n/a'
        rows.append(['motion', speed, 'AP50 (VID)', value])
    if scores.coco is not None:
        for size, key in SIZES.items():
            rows.append(['size', size, 'AP (COCO)', _exact(metrics[f'coco/{key}'])])
    names, per_class = scores.per_class()
    for row in per_class:
        for metric, value in zip(names[3:], row[3:], strict=True):
            rows.append(['class', row[0], metric, 'n/a' if value is None else _exact(value)])
    return rows


def speed_of(motion: np.ndarray | None, obj: int) -> str:
    """Name of the speed of an object, n/a if motion is not known."""
    if motion is None:
        return 'n/a'
    inside = (name for name, (_, high) in SPEEDS.items() if motion[obj] <= high)
    return next(inside, 'slow')  # 1 may be exceeded by rounding


def _false_positives(run: Analysis, scored: ScoredSet) -> tuple[list[str], list[list]]:
    """Best score first."""
    mistakes, detections, objects, rows = run.mistakes, run.detections, run.objects, []
    for i, false in enumerate(mistakes.false[:MOST_ROWS]):
        near = mistakes.near[i]
        about = ('', '')
        if near >= 0:
            about = (objects.classes[objects.label[near]], f'{mistakes.iou[i]:.4f}')
        name, score = objects.classes[detections.label[false]], f'{detections.score[false]:.6g}'
        file_name, kind = scored.file_name(detections.image[false]), KINDS[mistakes.kind[i]]
        rows.append([file_name, name, score, kind, *about, *_sides(detections.boxes[false])])
    return ['file_name', 'class', 'score', 'kind', 'object', 'iou', *SIDES], rows


def _missed(run: Analysis, scored: ScoredSet) -> tuple[list[str], list[list]]:
    """Largest part of the frame first."""
    objects, areas, rows = run.objects, scored.image_areas(), []
    for obj in run.mistakes.missed[:MOST_ROWS]:
        image = objects.image[obj]
        name, share = objects.classes[objects.label[obj]], f'{objects.area[obj] / areas[image]:.6g}'
        speed, score = speed_of(objects.motion, obj), _rounded(run.mistakes.hit_score[obj])
        rows.append(
            [scored.file_name(image), name, share, speed, score, *_sides(objects.boxes[obj])]
        )
    names = ['file_name', 'class', 'part of the frame', 'motion', 'found with score']
    return [*names, *SIDES], rows


def _exact(value: float | None) -> str:
    return '' if value is None or np.isnan(value) else repr(float(value))


def _rounded(value: float) -> str:
    return '' if np.isnan(value) else f'{value:.6g}'


def _sides(box: np.ndarray) -> list[str]:
    return [f'{side:.2f}' for side in box]
