"""What is in a dataset, in numbers: counted on whole arrays."""

from dataclasses import dataclass, field

import numpy as np

from mmdet.datasets.motion import motion_iou
from mmdet.evaluation.vid_ap import SPEEDS
from mmdet.programs.check.scan import Scanned

AREAS = {'small': 32**2, 'medium': 96**2, 'large': np.inf}  # of COCO: up to so many pixels


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

    `video_frames` and `track_frames` are (shortest, median, longest) in frames, None without any.
    """

    videos: int
    frames: int
    key_frames: int
    empty_frames: int
    boxes: int
    other_boxes: int
    tracks: int | None
    video_frames: tuple[int, float, int] | None
    track_frames: tuple[int, float, int] | None
    classes: list[ClassCounts] = field(default_factory=list)


def count(scanned: Scanned, usable: np.ndarray) -> Statistics:
    """Count; `usable` [A] bool says which boxes take part."""
    image, label = scanned.image_of[usable], scanned.category_of[usable]
    video = scanned.video_of[image]
    size = np.digitize(scanned.areas[usable], list(AREAS.values())[:-1], right=True)
    track = _tracks(scanned, usable) if scanned.has_tracks else None
    speed = None
    if track is not None and (video >= 0).all():
        motion = motion_iou(track, scanned.frame_ids[image], scanned.boxes[usable])
        speed = np.digitize(motion, [high for _, high in list(SPEEDS.values())[:-1]])
    statistics = Statistics(
        videos=len(scanned.videos),
        frames=len(scanned.file_names),
        key_frames=int(scanned.is_key.sum()),
        empty_frames=len(scanned.file_names) - len(np.unique(image)),
        boxes=len(image),
        other_boxes=len(scanned.ann_ids) - len(image),
        tracks=None if track is None else len(np.unique(track)),
        video_frames=_spread(np.diff(scanned.offsets)),
        track_frames=None if track is None else _spread(np.bincount(track)),
    )
    for i, name in enumerate(scanned.categories):
        here = label == i
        statistics.classes.append(
            ClassCounts(
                name=name,
                videos=len(np.unique(video[here][video[here] >= 0])),
                frames=len(np.unique(image[here])),
                boxes=int(here.sum()),
                tracks=None if track is None else len(np.unique(track[here])),
                sizes=_by_bin(size[here], AREAS),
                motion=None if speed is None else _by_bin(speed[here], SPEEDS),
            )
        )
    return statistics


def _tracks(scanned: Scanned, usable: np.ndarray) -> np.ndarray:
    """A number from 0 for each (video, instance)."""
    video = scanned.video_of[scanned.image_of[usable]]
    pairs = np.stack([video, scanned.tracks[usable]], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].ravel()


def _spread(lengths: np.ndarray) -> tuple[int, float, int] | None:
    if not len(lengths):
        return None
    return int(lengths.min()), float(np.median(lengths)), int(lengths.max())


def _by_bin(bins: np.ndarray, names) -> dict[str, int]:
    return dict(zip(names, np.bincount(bins, minlength=len(names)).tolist(), strict=True))
