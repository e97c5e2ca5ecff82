"""Rules on names, boxes and tracks of a scanned annotation file."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mmdet.datasets.frame_annotations import box_faults
from mmdet.programs.check.faults import FaultLog
from mmdet.programs.check.scan import NAMES, Scanned

BOXES, TRACKS, SIZES = 'boxes', 'tracks', 'frame sizes'
BORDER = 1.0  # pixels that a box may reach over the border, from rounding


def check_names(scanned: Scanned, log: FaultLog) -> None:
    """Names that must be unique, and videos without frames."""
    for kind, ids, names in (
        ('category', scanned.category_ids, scanned.categories),
        ('video', scanned.video_ids, scanned.videos),
        ('image', scanned.image_ids, scanned.file_names),
    ):
        log.add_all(NAMES, _repeated(kind, ids, names))
    for video in np.flatnonzero(np.diff(scanned.offsets) == 0):
        entry = f'video id {scanned.video_ids[video]} ({scanned.videos[video]})'
        log.add(NAMES, entry, 'has no frames')


def _repeated(kind: str, ids: Sequence[int], names: Iterable[str]) -> Iterator[tuple[str, str]]:
    first: dict[str, int] = {}
    for number, name in zip(ids, names, strict=True):
        if first.setdefault(name, number) != number:
            yield f'{kind} id {number} ({name})', f'the name is that of {kind} id {first[name]} too'


def check_frame_sizes(scanned: Scanned, log: FaultLog) -> None:
    """Frames of one video must have one size, since clips of them are stacked."""
    for video in range(len(scanned.videos)):
        frames = scanned.order[scanned.offsets[video] : scanned.offsets[video + 1]]
        sizes = scanned.sizes[frames]
        other = np.flatnonzero((sizes != sizes[:1]).any(axis=1))
        if len(other):
            (w, h), (first_w, first_h) = sizes[other[0]], sizes[0]
            rule = (
                f'is {w}x{h}, but the first frame of its video is {first_w}x{first_h} '
                f'({len(other)} of {len(frames)} frames differ)'
            )
            log.add(SIZES, scanned.image(frames[other[0]]), rule)


def check_boxes(scanned: Scanned, log: FaultLog) -> np.ndarray:
    """Boxes that training leaves out, and those that reach over the border.

    Returns:
        [A] bool: the box takes part in training and scoring.
    """
    sizes = scanned.sizes[scanned.image_of]
    wrong = np.zeros(len(scanned.boxes), bool)
    for rule, broken in box_faults(scanned.boxes, scanned.areas, sizes).items():
        for at in np.flatnonzero(broken & ~wrong & ~scanned.ignored):
            log.add(BOXES, scanned.annotation(at), f'{_text(scanned, at)} {rule}: it is left out')
        wrong |= broken
    low, high = scanned.boxes[:, :2], scanned.boxes[:, :2] + scanned.boxes[:, 2:]
    over = ((low < -BORDER) | (high > sizes + BORDER)).any(axis=1)
    for at in np.flatnonzero(over & ~wrong & ~scanned.ignored):
        w, h = sizes[at]
        log.add(BOXES, scanned.annotation(at), f'{_text(scanned, at)} reaches over {w}x{h}')
    return ~wrong & scanned.counts


def _text(scanned: Scanned, at: int) -> str:
    return f'bbox [{", ".join(f"{value:g}" for value in scanned.boxes[at])}]'


def check_tracks(scanned: Scanned, log: FaultLog) -> None:
    """An object occurs once in a frame."""
    tracked = np.flatnonzero(scanned.tracks != -1)
    order = tracked[np.lexsort((scanned.tracks[tracked], scanned.image_of[tracked]))]
    image, track = scanned.image_of[order], scanned.tracks[order]
    again = np.flatnonzero((np.diff(image) == 0) & (np.diff(track) == 0))
    for at in again:
        first, second = order[at], order[at + 1]
        rule = (
            f'instance_id {scanned.tracks[second]} is that of annotation id '
            f'{scanned.ann_ids[first]} in the same frame'
        )
        log.add(TRACKS, scanned.annotation(second), rule)
    pairs = np.unique(np.stack([track, scanned.video_of[image]], axis=1), axis=0)
    shared = np.flatnonzero(np.diff(pairs[:, 0]) == 0)
    if len(shared):
        log.notes.append(
            f'{len(shared)} instance ids occur in several videos, such as '
            f'{pairs[shared[0], 0]}; they are taken for different objects.'
        )
    if len(scanned.ann_ids) and not scanned.has_tracks:
        log.notes.append('Not every annotation has an instance_id: there will be no AP by motion.')
