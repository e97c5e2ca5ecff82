"""The ground truth of a CocoVID (or plain COCO) file as the evaluation takes it.

Shapes: N images in ascending id, M objects, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.selection import (
    as_xyxy,
    image_positions,
    label_of_category,
    usable_annotations,
)


@dataclass
class GroundTruth:
    """Objects of the classes, by image.

    Attributes:
        image_ids: [N] ascending; a results list has one entry for each, in this order.
        classes: C names, position = label.
        category_ids: C ids of the file.
        image: [M] row of `image_ids`, ascending; inside an image in the order of the file.
        label: [M].
        boxes: [M, 4] float32 xyxy, not clipped to the image.
        area: [M] float64, as in the file.
        crowd: [M] bool.
        motion: [M] motion IoU in 0..1, or None.
    """

    image_ids: np.ndarray
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    motion: np.ndarray | None = None

    def select(self, objects: np.ndarray) -> 'GroundTruth':
        """The same images with some of the objects (a mask or rows)."""
        names = ('image', 'label', 'boxes', 'area', 'crowd')
        motion = None if self.motion is None else self.motion[objects]
        return replace(self, **{n: getattr(self, n)[objects] for n in names}, motion=motion)

    def select_images(self, rows: np.ndarray) -> 'GroundTruth':
        """Some of the images (ascending rows) with their objects."""
        new_row = np.full(len(self.image_ids), -1)
        new_row[rows] = np.arange(len(rows))
        kept = self.select(new_row[self.image] >= 0)
        return replace(kept, image_ids=self.image_ids[rows], image=new_row[kept.image])


def ground_truth(
    index: CocoVideoIndex,
    classes: Sequence[str] | str | None = None,
    motion: np.ndarray | None = None,
) -> GroundTruth:
    """The objects of the given classes whose annotations are usable.

    Args:
        index: of the annotation file.
        classes: names, position = label, or a single one. None: the file's own categories, in its
            order.
        motion: motion IoU of every annotation of the index, or None.

    Raises:
        ConfigError: a class that the file does not have; both sides are named.
    """
    if isinstance(classes, str):
        classes = (classes,)
    names = tuple(classes or (category['name'] for category in index.categories))
    label_of = label_of_category(index, names)
    by_id = np.argsort(index.image_ids, kind='stable')
    row_of_position = np.empty(len(by_id), np.int64)
    row_of_position[by_id] = np.arange(len(by_id))
    position = image_positions(index)
    label = np.full(len(position), -1)
    for category, c in label_of.items():
        label[index.ann_categories == category] = c
    kept = np.flatnonzero((label >= 0) & usable_annotations(index, slice(None), position))
    kept = kept[np.argsort(row_of_position[position[kept]], kind='stable')]
    return GroundTruth(
        image_ids=np.asarray(index.image_ids)[by_id],
        classes=names,
        category_ids=tuple(label_of),
        image=row_of_position[position[kept]],
        label=label[kept],
        boxes=as_xyxy(index.ann_boxes[kept]),
        area=index.ann_areas[kept],
        crowd=index.ann_iscrowd[kept],
        motion=None if motion is None else motion[kept],
    )


def pairs_of_images(image: np.ndarray, gt_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a detection and an object of its image.

    Args:
        image: [n] image of each detection.
        gt_image: [m] image of each object, ascending.

    Returns:
        [pairs] rows of the detections, ascending, and [pairs] rows of the objects.
    """
    first = np.searchsorted(gt_image, image)
    count = np.searchsorted(gt_image, image, side='right') - first
    det = np.repeat(np.arange(len(image)), count)
    obj = np.arange(len(det)) + np.repeat(first - np.cumsum(count) + count, count)
    return det, obj
