"""What an evaluation says: metrics by name, tables for people, `metrics.json`, `per_class.csv`."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from mmdet.core.fileio import atomic_write
from mmdet.evaluation.coco import COCOResult
from mmdet.evaluation.vid_ap import SPEEDS, VIDResult

WIDTH = 110  # of the tables, in characters
RANGES = ('all', *SPEEDS)


@dataclass
class Scores:
    """An evaluation's outcome. AP in 0..1, NaN where there is no object."""

    classes: tuple[str, ...]
    images: int  # their number
    objects: np.ndarray  # [C] numbers of each class, without crowds
    detections: np.ndarray  # [C]
    motion: str  # where the motion IoUs come from, or why there are none; for people
    vid: VIDResult | None  # None if the protocol was not asked for
    coco: COCOResult | None

    def metrics(self) -> dict[str, float | None]:
        """Flat, in 0..1; None where there is no object, or no motion IoU."""
        metrics = {}
        if self.vid is not None:
            for name in RANGES:
                key = 'vid/AP50' if name == 'all' else f'vid/AP50_{name}'
                metrics[key] = self.mean(name)
            values = zip(self.classes, self.vid.ap[0], strict=True)
            metrics |= {f'vid/AP50/{name}': value for name, value in values}
        if self.coco is not None:
            metrics |= {f'coco/{name}': value for name, value in self.coco.summary.items()}
        return {name: _plain(value) for name, value in metrics.items()}

    def mean(self, speed: str) -> float | None:
        """Mean AP50 (VID) of a range; None if motion is not known."""
        ranges = self.vid.ranges
        return float(self.vid.mean[ranges.index(speed)]) if speed in ranges else None

    def per_class(self) -> tuple[list[str], list[list]]:
        """Column names, and one row per class: name, counts, AP."""
        names = ['class', 'objects', 'detections']
        columns = [list(self.classes), self.objects.tolist(), self.detections.tolist()]
        if self.vid is not None:
            for speed in RANGES:
                names.append('AP50 (VID)' if speed == 'all' else f'AP50 (VID) {speed}')
                known = speed in self.vid.ranges
                ap = self.vid.ap[self.vid.ranges.index(speed)] if known else None
                columns.append([None] * len(self.classes) if ap is None else ap.tolist())
        if self.coco is not None:
            names += ['AP50 (COCO)', 'AP (COCO)']
            columns += [self.coco.ap50.tolist(), self.coco.ap.tolist()]
        return names, [list(row) for row in zip(*columns, strict=True)]


def _plain(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def tables(scores: Scores) -> str:
    """The summaries and the classes as text."""
    console = Console(file=StringIO(), width=WIDTH, force_terminal=False)
    counts = f'{scores.images:,} images, {scores.objects.sum():,} objects'
    console.print(f'{counts}. AP is in 0..1; - stands where there is no object.')
    if scores.vid is not None:
        table = _table(['by motion', *RANGES])
        table.add_row('AP50 (VID)', *[_cell(scores.mean(speed)) for speed in RANGES])
        console.print(table)
        console.print(f'motion: {scores.motion}', soft_wrap=True)
    if scores.coco is not None:
        summary = scores.coco.summary
        table = _table(['by size', 'all', 'small', 'medium', 'large'])
        table.add_row('AP (COCO)', *[_cell(summary[k]) for k in ('AP', 'AP_s', 'AP_m', 'AP_l')])
        for name in ('AP50', 'AP75'):
            table.add_row(f'{name} (COCO)', _cell(summary[name]))
        console.print(table)
    console.print(_class_table(scores))
    absent = scores.objects == 0
    if absent.any() and not absent.all():
        console.print(
            f'{absent.sum()} of {len(absent)} classes have no objects here; '
            f'{scores.detections[absent].sum():,} detections are of them (see the CSV file).',
            soft_wrap=True,
        )
    return console.file.getvalue()


def _class_table(scores: Scores) -> Table:
    """Classes with objects; all of them when there is none."""
    names, rows = scores.per_class()
    table = _table([name.removeprefix('AP50 (VID) ') for name in names])
    for row in [row for row in rows if row[1]] or rows:
        counts = [f'{value:,}' for value in row[1:3]]
        table.add_row(row[0], *counts, *[_cell(value) for value in row[3:]])
    return table


def text_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of any width as text."""
    table = _table(names)
    for row in rows:
        table.add_row(*row)
    console = Console(file=StringIO(), width=10_000, force_terminal=False)
    console.print(table)
    return '\n'.join(line.rstrip() for line in console.file.getvalue().splitlines())


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(columns):
        table.add_column(name, justify='right' if i else 'left', no_wrap=i == 0)
    return table


def _cell(value: float | None) -> str:
    if value is None:
        return 'n/a'
    return '-' if np.isnan(value) else f'{value:.4f}'


def write_report(scores: Scores, work_dir: str | Path, name: str = '') -> tuple[Path, Path]:
    """Write `metrics.json` and `per_class.csv` (`metrics.NAME.json`, ... with a name), in which a
    value that is not defined is null and empty."""
    middle = f'.{name}' if name else ''
    json_path = Path(work_dir) / f'metrics{middle}.json'
    csv_path = Path(work_dir) / f'per_class{middle}.csv'
    with atomic_write(json_path) as file:
        json.dump(scores.metrics(), file, indent=2, allow_nan=False)
        file.write('\n')
    names, rows = scores.per_class()
    plain = [[*row[:3], *['' if _plain(v) is None else v for v in row[3:]]] for row in rows]
    write_csv(csv_path, names, plain)
    return json_path, csv_path


def write_csv(path: str | Path, names: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a table with a line of column names, whole or not at all."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(names)
        writer.writerows(rows)
