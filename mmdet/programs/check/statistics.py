"""What is in a dataset: counted on whole arrays, and as tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmdet.datasets.motion import motion_iou
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.selection import image_positions, usable_annotations
from mmdet.evaluation.vid_ap import SPEEDS

AREAS = {'small': 32**2, 'medium': 96**2, 'large': np.inf}  # of COCO: up to so many pixels
Spread = tuple[int, float, int]  # shortest, median, longest


@dataclass
class ClassCounts:
    """Of one class; `sizes` by AREAS, `motion` by SPEEDS (None without track ids)."""

    name: str
    videos: int
    frames: int
    boxes: int
    tracks: int | None
    sizes: dict[str, int]
    motion: dict[str, int] | None


@dataclass
class Statistics:
    """Counts of a dataset; boxes are those that take part in training and scoring.

    `video_frames` and `track_frames` are in frames, None without any.
    """

    videos: int
    frames: int
    key_frames: int
    empty_frames: int
    boxes: int
    other_boxes: int
    tracks: int | None
    video_frames: Spread | None
    track_frames: Spread | None
    classes: list[ClassCounts] = field(default_factory=list)


def count(index: CocoVideoIndex) -> Statistics:
    image = image_positions(index)
    usable = usable_annotations(index, slice(None), image) & ~index.ann_iscrowd
    image, boxes = image[usable], index.ann_boxes[usable]
    category, video = index.ann_categories[usable], index.image_video[image]
    size = np.digitize(index.ann_areas[usable], list(AREAS.values())[:-1], right=True)
    track = speed = None
    if index.has_track_ids:  # a number from 0 for each (video, instance)
        pairs = np.stack([video, index.ann_instance_ids[usable]], axis=1)
        track = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
        if (video >= 0).all():
            motion = motion_iou(track, index.image_frame_ids[image], boxes)
            speed = np.digitize(motion, [high for _, high in list(SPEEDS.values())[:-1]])
    statistics = Statistics(
        videos=len(index.videos()),
        frames=len(index),
        key_frames=int(index.image_is_train_frame.sum()),
        empty_frames=len(index) - len(np.unique(image)),
        boxes=len(image),
        other_boxes=len(index.ann_ids) - len(image),
        tracks=None if track is None else len(np.unique(track)),
        video_frames=_spread(np.diff(index.video_offsets)),
        track_frames=None if track is None else _spread(np.bincount(track)),
    )
    for entry in index.categories:
        here = category == entry['id']
        statistics.classes.append(
            ClassCounts(
                name=entry['name'],
                videos=len(np.unique(video[here][video[here] >= 0])),
                frames=len(np.unique(image[here])),
                boxes=int(here.sum()),
                tracks=None if track is None else len(np.unique(track[here])),
                sizes=_by_bin(size[here], AREAS),
                motion=None if speed is None else _by_bin(speed[here], SPEEDS),
            )
        )
    return statistics


def _spread(lengths: np.ndarray) -> Spread | None:
    if not len(lengths):
        return None
    return int(lengths.min()), float(np.median(lengths)), int(lengths.max())


def _by_bin(bins: np.ndarray, names: dict) -> dict[str, int]:
    return dict(zip(names, np.bincount(bins, minlength=len(names)).tolist(), strict=True))


def print_statistics(statistics: Statistics, console: Console) -> None:
    """Tables of the whole, of the classes that have boxes (and the names of the others), and of
    these by area and motion.

    Areas are those of COCO, motion is that of scoring (IoU with the neighbours).
    """
    whole = {
        'videos': statistics.videos,
        'frames': statistics.frames,
        'training key frames': statistics.key_frames,
        'frames without boxes': statistics.empty_frames,
        'boxes': statistics.boxes,
        'boxes that do not count': statistics.other_boxes,
        'tracks': statistics.tracks,
        'video length (frames)': _range(statistics.video_frames),
        'track length (boxes)': _range(statistics.track_frames),
    }
    _print_table(console, ['', ''], whole.items(), show_header=False)
    filled = [c for c in statistics.classes if c.boxes]
    if filled:
        rows = ((c.name, c.videos, c.frames, c.boxes, c.tracks) for c in filled)
        _print_table(console, ['class', 'videos', 'frames', 'boxes', 'tracks'], rows)
        bins = [f'area\n{name}' for name in AREAS] + [f'motion\n{name}' for name in SPEEDS]
        motion = [c.motion or dict.fromkeys(SPEEDS) for c in filled]
        rows = (
            (c.name, *c.sizes.values(), *m.values()) for c, m in zip(filled, motion, strict=True)
        )
        _print_table(console, ['class\n(boxes)', *bins], rows)
    empty = [c.name for c in statistics.classes if not c.boxes]
    if empty:
        console.print(f'Classes without a box: {", ".join(empty)}.', soft_wrap=True, markup=False)


def _print_table(
    console: Console, columns: list[str], rows: Iterable[Sequence], show_header: bool = True
) -> None:
    table = Table(columns[0], show_header=show_header)
    for column in columns[1:]:
        table.add_column(column, justify='right')
    for name, *values in rows:
        texts = ('n/a' if v is None else v if isinstance(v, str) else f'{v:,}' for v in values)
        table.add_row(escape(name), *texts)
    console.print(table)


def _range(values: Spread | None) -> str | None:
    if values is None:
        return None
    low, median, high = values
    return f'{low:,} to {high:,}, median {median:,.0f}'
