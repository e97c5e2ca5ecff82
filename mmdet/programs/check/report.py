"""The report of a check on a terminal."""

from rich.console import Console
from rich.table import Table

from mmdet.evaluation.vid_ap import SPEEDS
from mmdet.programs.check.check import CheckReport
from mmdet.programs.check.faults import KEPT
from mmdet.programs.check.statistics import AREAS, ClassCounts, Statistics

SHOWN = 20  # faults


def print_report(report: CheckReport, console: Console) -> None:
    """Tables, notes, counts of faults by kind, and the first faults."""
    if report.statistics is not None:
        console.print(_overview(report.statistics))
        if report.statistics.boxes:
            console.print(_classes(report.statistics))
            console.print(_bins(report.statistics))
    for note in report.log.notes:
        console.print(f'note: {note}', soft_wrap=True, markup=False, highlight=False)
    log = report.log
    if not log.total:
        console.print(f'{report.ann_file}: no faults', soft_wrap=True, highlight=False)
        return
    kinds = ', '.join(f'{name} {count:,}' for name, count in log.counts.items())
    head = f'{report.ann_file}: {log.total:,} faults ({kinds})'
    console.print(head, style='bold red', soft_wrap=True, markup=False, highlight=False)
    for fault in log.first(SHOWN):
        console.print(f'  {fault}', soft_wrap=True, markup=False, highlight=False)
    if log.total > SHOWN:
        more = f'... and {log.total - SHOWN:,} more; --json FILE lists up to {KEPT:,} of each kind'
        console.print(f'  {more}', soft_wrap=True, highlight=False)


def _overview(statistics: Statistics) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify='right')
    rows = {
        'videos': statistics.videos,
        'frames': statistics.frames,
        'training key frames': statistics.key_frames,
        'frames without boxes': statistics.empty_frames,
        'boxes': statistics.boxes,
        'boxes that do not count': statistics.other_boxes,
        'tracks': statistics.tracks,
        'video length (frames)': _spread(statistics.video_frames),
        'track length (boxes)': _spread(statistics.track_frames),
    }
    for name, value in rows.items():
        table.add_row(name, _text(value))
    return table


def _classes(statistics: Statistics) -> Table:
    table = Table('class')
    for column in ('videos', 'frames', 'boxes', 'tracks'):
        table.add_column(column, justify='right')
    for counts in _filled(statistics):
        numbers = (counts.videos, counts.frames, counts.boxes, counts.tracks)
        table.add_row(counts.name, *map(_text, numbers))
    return table


def _bins(statistics: Statistics) -> Table:
    """Boxes by size (area as in COCO) and by motion (IoU with their neighbours, as in scoring)."""
    table = Table('class\n(boxes)')
    for title, bins in (('area', AREAS), ('motion', SPEEDS)):
        for name in bins:
            table.add_column(f'{title}\n{name}', justify='right')
    for counts in _filled(statistics):
        motion = counts.motion or dict.fromkeys(SPEEDS)
        table.add_row(counts.name, *map(_text, [*counts.sizes.values(), *motion.values()]))
    return table


def _filled(statistics: Statistics) -> list[ClassCounts]:
    """The classes that have boxes; a note names the others."""
    return [counts for counts in statistics.classes if counts.boxes]


def _spread(values: tuple[int, float, int] | None) -> str | None:
    if values is None:
        return None
    low, median, high = values
    return f'{low:,} to {high:,}, median {median:,.0f}'


def _text(value: int | str | None) -> str:
    if value is None:
        return 'n/a'
    return value if isinstance(value, str) else f'{value:,}'
