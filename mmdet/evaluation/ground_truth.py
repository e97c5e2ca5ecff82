"""The ground truth of a CocoVID (or plain COCO) file as the evaluation takes it.

Shapes: N images in ascending id, M objects, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmdet.datasets import selection
from mmdet.datasets.parsers import CocoVideoIndex


@dataclass
class GroundTruth:
    """Objects of the classes, by image."""

    image_ids: np.ndarray  # [N] ascending; a results list has one entry for each, in this order
    classes: tuple[str, ...]  # names, position = label
    category_ids: tuple[int, ...]  # of the file
    image: np.ndarray  # [M] row of `image_ids`, ascending; inside an image as in the file
    label: np.ndarray  # [M]
    boxes: np.ndarray  # [M, 4] float32 xyxy, not clipped to the image
    area: np.ndarray  # [M] float64, as in the file
    crowd: np.ndarray  # [M] bool
    motion: np.ndarray | None = None  # [M] motion IoU in 0..1

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
        classes: names, position = label, or a single one. None: the file's own categories, in its
            order.
        motion: motion IoU of every annotation of the index, or None.

    Raises:
        ConfigError: a class that the file does not have; both sides are named.
    """
    if isinstance(classes, str):
        classes = (classes,)
    names = tuple(classes or (category['name'] for category in index.categories))
    label_of = selection.label_of_category(index, names)
    by_id = np.argsort(index.image_ids, kind='stable')
    row_of_position = np.empty(len(by_id), np.int64)
    row_of_position[by_id] = np.arange(len(by_id))
    position = selection.image_positions(index)
    label = np.full(len(position), -1)
    for category, c in label_of.items():
        label[index.ann_categories == category] = c
    usable = selection.usable_annotations(index, slice(None), position)
    kept = np.flatnonzero((label >= 0) & usable)
    kept = kept[np.argsort(row_of_position[position[kept]], kind='stable')]
    return GroundTruth(
        image_ids=np.asarray(index.image_ids)[by_id],
        classes=names,
        category_ids=tuple(label_of),
        image=row_of_position[position[kept]],
        label=label[kept],
        boxes=selection.as_xyxy(index.ann_boxes[kept]),
        area=index.ann_areas[kept],
        crowd=index.ann_iscrowd[kept],
        motion=None if motion is None else motion[kept],
    )


def pairs_of_images(image: np.ndarray, gt_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a detection and an object of its image, given their images [n] and, ascending,
    [m]: the rows of the detections, ascending, and those of the objects."""
    first = np.searchsorted(gt_image, image)
    count = np.searchsorted(gt_image, image, side='right') - first
    det = np.repeat(np.arange(len(image)), count)
    obj = np.arange(len(det)) + np.repeat(first - np.cumsum(count) + count, count)
    return det, obj
