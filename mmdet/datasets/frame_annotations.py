"""The ground truth of one frame, out of the annotation index. K: objects of a frame."""

from collections.abc import Mapping

import numpy as np

from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.structures import Frame


class FrameAnnotations:
    """Fills frames with their ground truth, as `LoadAnnotations` asks for it.

    Left out: annotations marked `ignore`, boxes outside of the image, with an area of at most 0 or
    a side below 1 pixel, and foreign categories. Crowds become `boxes_ignore`. Boxes are not
    clipped to the image.

    Args:
        index: the annotation file.
        label_of: category id -> label.
        tracks: take instance ids from the file; otherwise objects of an image are numbered.
    """

    def __init__(self, index: CocoVideoIndex, label_of: Mapping[int, int], tracks: bool):
        self.index, self.label_of, self.tracks = index, label_of, tracks

    def __call__(self, frame: Frame) -> None:
        """Set boxes, labels, instance_ids and boxes_ignore, in original pixels."""
        image = self.index.position_of(frame.image_id)
        rows = self.index.annotations_of(image)
        xywh = self.index.ann_boxes[rows]
        labels = [self.label_of.get(c, -1) for c in self.index.ann_categories[rows].tolist()]
        labels = np.array(labels, np.int64)
        kept = self._usable(image, rows, xywh) & (labels >= 0)
        crowd = kept & self.index.ann_iscrowd[rows]
        kept &= ~crowd
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
        frame.boxes, frame.boxes_ignore = boxes[kept], boxes[crowd]
        frame.labels = labels[kept]
        if self.tracks:
            frame.instance_ids = np.array(self.index.ann_instance_ids[rows][kept])
        else:
            frame.instance_ids = np.arange(len(frame.boxes))

    def _usable(self, image: int, rows: slice, xywh: np.ndarray) -> np.ndarray:
        """[K] bool"""
        size = np.array([self.index.image_widths[image], self.index.image_heights[image]])
        usable = ~self.index.ann_ignore[rows]
        for broken in box_faults(xywh, self.index.ann_areas[rows], size).values():
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
