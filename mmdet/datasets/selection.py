"""Which frames of an annotation index are samples, and which of its annotations count.

N: images of the index, A: annotations, K: those of a frame. Positions are indices into the arrays
of `CocoVideoIndex`.
"""

import random
from collections.abc import Mapping, Sequence

import numpy as np

from mmdet.core.errors import ConfigError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.structures import Frame


def label_of_category(index: CocoVideoIndex, classes: Sequence[str]) -> dict[int, int]:
    """Category id -> label, the position of the category's name in `classes`.

    Raises:
        ConfigError: a class that the file does not have, or that `classes` or the file names twice.
    """
    ids_of: dict[str, list[int]] = {}
    for category in index.categories:
        ids_of.setdefault(category['name'], []).append(category['id'])
    missing = [name for name in classes if name not in ids_of]
    if missing:
        raise ConfigError(
            f'{index.ann_file} has no category {missing[0]!r} '
            f'({len(missing)} of the {len(classes)} classes of the config are missing). '
            f'Its {len(ids_of)} categories: {", ".join(ids_of)}. Set `classes` of the dataset to '
            f'the names to detect, and the number of classes of the model to their count.'
        )
    twice = [name for name in classes if len(ids_of[name]) > 1 or list(classes).count(name) > 1]
    if twice:
        raise ConfigError(
            f'The class {twice[0]!r} must occur once in `classes` and once in {index.ann_file}'
        )
    return {ids_of[name][0]: label for label, name in enumerate(classes)}


def frames_in_video_order(index: CocoVideoIndex, shuffle_seed: int | None) -> np.ndarray:
    """Positions of all frames by video, and in a video by frame id.

    With a seed, the frames after the first one of each video are shuffled by one generator of
    Python's `random`, video by video: the order of 1.x for seed 10.
    """
    frames = np.array(index.video_images)
    if shuffle_seed is None:
        return frames
    shuffle = random.Random(shuffle_seed).shuffle
    for video in index.videos():
        start, end = index.video_offsets[video : video + 2]
        rest = frames[start + 1 : end].tolist()
        shuffle(rest)
        frames[start + 1 : end] = rest
    return frames


def has_object_of(index: CocoVideoIndex, category_ids: Sequence[int]) -> np.ndarray:
    """[N] bool: the image has an annotation of one of the categories, whatever its box."""
    wanted = np.isin(index.ann_categories, list(category_ids))
    before = np.concatenate([[0], np.cumsum(wanted)])
    return before[index.ann_offsets[1:]] > before[index.ann_offsets[:-1]]


def is_large_enough(index: CocoVideoIndex, min_size: int) -> np.ndarray:
    """[N] bool: no side is shorter than `min_size` pixels."""
    return np.minimum(index.image_widths, index.image_heights) >= min_size


def aspect_flags(index: CocoVideoIndex, positions: np.ndarray) -> np.ndarray:
    """uint8, 1 for images wider than high, else 0."""
    wider = index.image_widths[positions] > index.image_heights[positions]
    return wider.astype(np.uint8)


def image_positions(index: CocoVideoIndex) -> np.ndarray:
    """[A] position of the image of each annotation of the index."""
    return np.repeat(np.arange(len(index)), np.diff(index.ann_offsets))


def usable_annotations(index: CocoVideoIndex, rows: slice, images: int | np.ndarray) -> np.ndarray:
    """bool for each of the rows: not marked `ignore`, and with a box that has no fault.

    Args:
        images: positions of their images.
    """
    sizes = np.stack([index.image_widths[images], index.image_heights[images]], axis=-1)
    usable = ~index.ann_ignore[rows]
    for broken in box_faults(index.ann_boxes[rows], index.ann_areas[rows], sizes).values():
        usable &= ~broken
    return usable


def box_faults(xywh: np.ndarray, areas: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Why boxes are left out: what is wrong with them, in words, and [K] bool for which.

    Args:
        xywh: [K, 4] pixels.
        areas: [K] of the annotation file.
        sizes: [2] or [K, 2], width and height of the image.
    """
    low, sides = xywh[:, :2], xywh[:, 2:]
    inside = np.minimum(low + sides, sizes) - np.maximum(low, 0) > 0
    return {
        'has a side below 1 pixel': (sides < 1).any(axis=1),
        'lies outside of the image': ~inside.all(axis=1),
        'has an `area` of at most 0': ~(areas > 0),
    }


def as_xyxy(xywh: np.ndarray) -> np.ndarray:
    """[K, 4] float32 corners; not clipped to the image."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)


def annotate(
    frame: Frame, index: CocoVideoIndex, label_of: Mapping[int, int], tracks: bool
) -> None:
    """Set boxes, labels, instance_ids and boxes_ignore of a frame, in original pixels.

    Of the usable annotations, crowds become `boxes_ignore`; foreign categories are left out.

    Args:
        index: the annotation file.
        label_of: category id -> label.
        tracks: take instance ids from the file; otherwise objects of an image are numbered.
    """
    image = index.position_of(frame.image_id)
    rows = index.annotations_of(image)
    labels = [label_of.get(c, -1) for c in index.ann_categories[rows].tolist()]
    labels = np.array(labels, np.int64)
    kept = usable_annotations(index, rows, image) & (labels >= 0)
    crowd = kept & index.ann_iscrowd[rows]
    kept &= ~crowd
    boxes = as_xyxy(index.ann_boxes[rows])
    frame.boxes, frame.boxes_ignore = boxes[kept], boxes[crowd]
    frame.labels = labels[kept]
    ids = index.ann_instance_ids[rows][kept] if tracks else np.arange(len(frame.boxes))
    frame.instance_ids = np.array(ids)
