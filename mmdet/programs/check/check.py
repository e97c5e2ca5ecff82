"""All checks of a dataset in one go: what tools/check_dataset.py runs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from rich.console import Console

from mmdet.core.errors import AnnotationError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.check.annotation_checks import check_annotations
from mmdet.programs.check.config_checks import check_config_fits
from mmdet.programs.check.faults import KEPT, FaultLog
from mmdet.programs.check.file_checks import check_files, check_leakage
from mmdet.programs.check.statistics import Statistics, count, print_statistics

LARGE = 500_000  # annotations
SHOWN = 20  # faults


@dataclass
class CheckOptions:
    """What to check besides the file itself.

    Attributes:
        img_root: folder that file names start from.
        decode: which images to decode: 'none', 'sample' or 'all'.
        config: a config whose classes must fit.
        against: another annotation file (training against validation) that may share nothing.
        against_root: its image root; None: the same.
    """

    img_root: Path
    decode: str = 'sample'
    config: Path | None = None
    against: Path | None = None
    against_root: Path | None = None


@dataclass
class CheckReport:
    """What was found; `statistics` is None for a file that cannot be read at all."""

    ann_file: Path
    log: FaultLog
    statistics: Statistics | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the faults are the first of each kind, see `FaultLog`."""
        return {
            'ann_file': str(self.ann_file),
            'faults': {'total': self.log.total, 'by_check': dict(self.log.counts)},
            'first_faults': [asdict(fault) for fault in self.log.kept],
            'notes': self.log.notes,
            'statistics': asdict(self.statistics) if self.statistics else None,
        }


def check_dataset(ann_file: Path, options: CheckOptions) -> CheckReport:
    """Look for faults in an annotation file and its images. No fault ends the search.

    Args:
        ann_file: CocoVID or plain COCO.
        options: see there.
    """
    log = FaultLog()
    report = CheckReport(ann_file, log)
    try:
        index = CocoVideoIndex.read(ann_file, log.add)
    except AnnotationError as error:
        log.add('structure', str(ann_file), str(error).removeprefix(f'{ann_file}: '))
        return report
    except OSError as error:
        log.add('structure', str(ann_file), f'cannot be read: {error.strerror}')
        return report
    _say(index, 'Checking names, frame sizes, boxes and tracks')
    check_annotations(index, log)
    if options.config is not None:
        check_config_fits(index, options.config, log)
    check_files(index, options.img_root, options.decode, log)
    if options.against is not None:
        other_root = options.against_root or options.img_root
        check_leakage(index, options.img_root, options.against, other_root, log)
    _say(index, 'Counting boxes and tracks')
    report.statistics = count(index)
    if not len(index.videos()) and len(index):
        log.notes.append(
            'The file has no videos: it is a set of images (load_as_video=False of the dataset).'
        )
    if len(index) and not index.image_is_train_frame.any():
        log.notes.append('No frame is a training key frame: the file is for testing only.')
    return report


def _say(index: CocoVideoIndex, what: str) -> None:
    """Announce what takes seconds in a large file."""
    if len(index.ann_ids) > LARGE:
        print_log(f'{what} ({len(index.ann_ids):,} annotations)', 'current')


def print_report(report: CheckReport, console: Console) -> None:
    """Tables, notes, counts of faults by kind, and the first faults."""
    log = report.log
    if report.statistics is not None:
        print_statistics(report.statistics, console)
    lines = [f'note: {note}' for note in log.notes]
    if log.total:
        kinds = ', '.join(f'{name} {count:,}' for name, count in log.counts.items())
        lines.append(f'{report.ann_file}: {log.total:,} faults ({kinds})')
    else:
        lines.append(f'{report.ann_file}: no faults')
    lines += [f'  {fault}' for fault in log.first(SHOWN)]
    if log.total > SHOWN:
        more = f'... and {log.total - SHOWN:,} more; --json FILE lists up to {KEPT:,} of each kind'
        lines.append(f'  {more}')
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
