"""All checks of a dataset in one go: what tools/check_dataset.py runs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmdet.programs.check.box_checks import (
    check_boxes,
    check_frame_sizes,
    check_names,
    check_tracks,
)
from mmdet.programs.check.config_checks import check_config_fits
from mmdet.programs.check.faults import FaultLog
from mmdet.programs.check.file_checks import check_files
from mmdet.programs.check.leakage import check_leakage
from mmdet.programs.check.scan import Scanned, scan
from mmdet.programs.check.statistics import Statistics, count

LARGE = 500_000  # annotations


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
    statistics: Statistics | None

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
    scanned = scan(ann_file, log)
    if scanned is None:
        return CheckReport(ann_file, log, None)
    _say(scanned, 'Checking names, frame sizes, boxes and tracks')
    check_names(scanned, log)
    check_frame_sizes(scanned, log)
    usable = check_boxes(scanned, log)
    check_tracks(scanned, log)
    if options.config is not None:
        check_config_fits(scanned, options.config, log)
    check_files(scanned, options.img_root, options.decode, log)
    if options.against is not None:
        other_root = options.against_root or options.img_root
        check_leakage(scanned, options.img_root, options.against, other_root, log)
    _say(scanned, 'Counting boxes and tracks')
    statistics = count(scanned, usable)
    _note_what_is_odd(scanned, statistics, log)
    return CheckReport(ann_file, log, statistics)


def _say(scanned: Scanned, what: str) -> None:
    """Announce what takes seconds in a large file."""
    if len(scanned.ann_ids) > LARGE:
        print_log(f'{what} ({len(scanned.ann_ids):,} annotations)', 'current')


def _note_what_is_odd(scanned: Scanned, statistics: Statistics, log: FaultLog) -> None:
    if not scanned.videos and scanned.file_names:
        log.notes.append(
            'The file has no videos: it is a set of images (load_as_video=False of the dataset).'
        )
    empty = [c.name for c in statistics.classes if not c.boxes]
    if empty:
        log.notes.append(f'Classes without a box: {", ".join(empty)}.')
    if statistics.frames and not statistics.key_frames:
        log.notes.append('No frame is a training key frame: the file is for testing only.')
