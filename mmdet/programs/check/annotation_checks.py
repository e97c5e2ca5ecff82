"""Rules on names, sizes, boxes and tracks of an annotation file whose entries are legal by
themselves. Training needs them, but does not look.

A: annotations, in the order of the index.
"""

from collections.abc import Iterable

import numpy as np

from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.selection import box_faults, image_positions
from mmdet.programs.check.faults import FaultLog, image_entry, video_entry

BORDER = 1.0  # pixels that a box may reach over the border, from rounding


def check_annotations(index: CocoVideoIndex, log: FaultLog) -> None:
    _check_names('category', ((c['id'], c['name']) for c in index.categories), log)
    videos = [(index.video_ids[v], index.video_name(v)) for v in index.videos()]
    _check_names('video', videos, log)
    images = ((number, index.file_name(i)) for i, number in enumerate(index.image_ids))
    _check_names('image', images, log)
    for video in index.videos():
        _check_frames(index, video, log)
    _check_boxes(index, log)
    _check_tracks(index, log)


def _check_names(kind: str, entries: Iterable[tuple[int, str]], log: FaultLog) -> None:
    first: dict[str, int] = {}
    for number, name in entries:
        if first.setdefault(name, number) != number:
            rule = f'the name is that of {kind} id {first[name]} too'
            log.add('names', f'{kind} id {number} ({name})', rule)


def _check_frames(index: CocoVideoIndex, video: int, log: FaultLog) -> None:
    """There are frames, and they have one size, since clips of them are stacked."""
    frames = index.frames_of(video)
    if not len(frames):
        log.add('names', video_entry(index, video), 'has no frames')
        return
    widths, heights = index.image_widths[frames], index.image_heights[frames]
    other = np.flatnonzero((widths != widths[0]) | (heights != heights[0]))
    if len(other):
        rule = (
            f'is {widths[other[0]]}x{heights[other[0]]}, but the first frame of its video is '
            f'{widths[0]}x{heights[0]} ({len(other)} of {len(frames)} frames differ)'
        )
        log.add('frame sizes', image_entry(index, frames[other[0]]), rule)


def _check_boxes(index: CocoVideoIndex, log: FaultLog) -> None:
    """Boxes that training leaves out, and those that reach over the border."""
    image = image_positions(index)
    sizes = np.stack([index.image_widths[image], index.image_heights[image]], axis=1)
    faults = box_faults(index.ann_boxes, index.ann_areas, sizes)
    rules = {f'{rule}: it is left out': broken for rule, broken in faults.items()}
    low, high = index.ann_boxes[:, :2], index.ann_boxes[:, :2] + index.ann_boxes[:, 2:]
    rules['reaches over {}x{}'] = ((low < -BORDER) | (high > sizes + BORDER)).any(axis=1)
    said = np.array(index.ann_ignore)
    for rule, broken in rules.items():
        for at in np.flatnonzero(broken & ~said):
            box = ', '.join(f'{value:g}' for value in index.ann_boxes[at])
            text = f'bbox [{box}] {rule.format(*sizes[at])}'
            log.add('boxes', _annotation(index, image, at), text)
        said |= broken


def _annotation(index: CocoVideoIndex, image_of: np.ndarray, at: int) -> str:
    return f'annotation id {index.ann_ids[at]} of {image_entry(index, image_of[at])}'


def _check_tracks(index: CocoVideoIndex, log: FaultLog) -> None:
    """An object occurs once in a frame."""
    image_of = image_positions(index)
    tracked = np.flatnonzero(index.ann_instance_ids != -1)
    order = tracked[np.lexsort((index.ann_instance_ids[tracked], image_of[tracked]))]
    image, track = image_of[order], index.ann_instance_ids[order]
    for at in np.flatnonzero((np.diff(image) == 0) & (np.diff(track) == 0)):
        first, second = order[at], order[at + 1]
        rule = f'instance_id {track[at]} is that of annotation id {index.ann_ids[first]}'
        log.add('tracks', _annotation(index, image_of, second), f'{rule} in the same frame')
    pairs = np.unique(np.stack([track, index.image_video[image]], axis=1), axis=0)
    shared = np.flatnonzero(np.diff(pairs[:, 0]) == 0)
    if len(shared):
        log.notes.append(
            f'{len(shared)} instance ids occur in several videos, such as '
            f'{pairs[shared[0], 0]}; they are taken for different objects.'
        )
    if len(index.ann_ids) and not index.has_track_ids:
        log.notes.append('Not every annotation has an instance_id: there will be no AP by motion.')
