"""AP of the COCO protocol, computed by faster-coco-eval.

Unlike `AP50 (VID)`: 101 recall points, IoU without any +1, at most 100 detections per image and
class, and AP over the IoU thresholds .5 to .95. The two must not be compared.

faster-coco-eval takes one dict per box, which for a whole video set is more than fits in memory, so
it gets one class at a time: they are independent. And it spends its time on pairs of an image and
a class. Most detections overlap no object of their class by half, so they can never match, and only
their order and size count: those are put on images of their own, 100 on each. Same numbers, a
third of the time.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mmdet.evaluation.ground_truth import GroundTruth, pairs_of_images
from mmdet.evaluation.results import DetectionArrays, rows_by_class

MAX_DETECTIONS = 100
MARGIN = 0.499  # IoU: what overlaps all objects by less matches none at the threshold .5
IOU_50, IOU_75 = 0, 5  # among the thresholds .5, .55, ... .95
AREAS = 4  # all, small, medium, large


@dataclass
class COCOResult:
    """AP in 0..1, NaN where there is no object."""

    summary: dict[str, float]  # AP, AP50, AP75, AP_s, AP_m, AP_l
    ap: np.ndarray  # [C]
    ap50: np.ndarray  # [C]


def coco_ap(
    detections: DetectionArrays,
    truth: GroundTruth,
    advance: Callable[[int], None] = lambda _: None,
) -> COCOResult:
    """Score detections under the COCO protocol; arguments as of `vid_ap`, but crowd objects take
    part: they may be matched many times and count neither way."""
    classes = len(truth.classes)
    precision = np.full((10, 101, classes, AREAS), -1.0)  # -1: no object
    det_by_class = rows_by_class(detections.label, classes)
    obj_by_class = rows_by_class(truth.label, classes)
    for c, (det, obj) in enumerate(zip(det_by_class, obj_by_class, strict=True)):
        if len(obj):
            with _no_garbage_collection():
                precision[:, :, c] = _precision(detections, truth, det, obj)
        advance(len(det))
    every_size = precision[..., 0]
    parts = {'AP': every_size, 'AP50': every_size[IOU_50], 'AP75': every_size[IOU_75]}
    parts |= {f'AP_{size}': precision[..., i] for i, size in enumerate('sml', 1)}
    summary = {name: _mean(part) for name, part in parts.items()}
    ap = np.array([_mean(every_size[:, :, c]) for c in range(classes)])
    ap50 = np.array([_mean(every_size[IOU_50, :, c]) for c in range(classes)])
    return COCOResult(summary, ap, ap50)


def _mean(precision: np.ndarray) -> float:
    defined = precision[precision > -1]
    return float(defined.mean()) if len(defined) else float('nan')


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A million dicts without cycles are made at once; looking for cycles doubles the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _precision(
    detections: DetectionArrays, truth: GroundTruth, det: np.ndarray, obj: np.ndarray
) -> np.ndarray:
    """[10 IoU thresholds, 101 recalls, areas] of one class, of its detections and objects."""
    from faster_coco_eval import COCO, COCOeval_faster  # here: its import takes a while

    det = _best_of_each_image(detections, det)
    gt_image, gt_boxes, crowd = truth.image[obj], truth.boxes[obj], truth.crowd[obj]
    image, boxes = detections.image[det], detections.boxes[det]
    matchless = ~_can_match(image, boxes, gt_image, gt_boxes, crowd)
    image[matchless] = len(truth.image_ids) + np.arange(matchless.sum()) // MAX_DETECTIONS
    annotations = _entries(
        gt_image, gt_boxes, area=truth.area[obj].tolist(), iscrowd=crowd.astype(int).tolist()
    )
    ranks = np.arange(len(det), 0.0, -1)  # instead of scores: the images are not in order now
    results = _entries(image, boxes, area=_area(boxes).tolist(), score=ranks.tolist())
    images = [{'id': i} for i in {e['image_id'] for e in annotations + results}]
    gt, dt = COCO(), COCO()
    for side, entries in ((gt, annotations), (dt, results)):
        side.dataset = {'images': images, 'categories': [{'id': 1}], 'annotations': entries}
        side.createIndex()
    evaluation = COCOeval_faster(gt, dt, 'bbox', print_function=lambda *_: None)
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval['precision'])[:, :, 0, :, 0]


def _best_of_each_image(detections: DetectionArrays, det: np.ndarray) -> np.ndarray:
    """Rows in descending order of score, at most 100 of an image; ties by image, then as given."""
    det = det[np.argsort(-detections.score[det], kind='stable')]
    by_image = np.argsort(detections.image[det], kind='stable')
    image = detections.image[det][by_image]
    place = np.arange(len(det)) - np.searchsorted(image, image)
    kept = np.zeros(len(det), bool)
    kept[by_image] = place < MAX_DETECTIONS
    return det[kept]


def _can_match(
    image: np.ndarray,
    boxes: np.ndarray,
    gt_image: np.ndarray,
    gt_boxes: np.ndarray,
    crowd: np.ndarray,
) -> np.ndarray:
    """[n] bool: a detection of a class overlaps an object of its image, of which there are m by
    image, by about half."""
    det, obj = pairs_of_images(image, gt_image)
    a, b = boxes[det].astype(np.float64), gt_boxes[obj].astype(np.float64)
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    overlap = np.maximum(sides, 0).prod(axis=1)
    union = np.where(crowd[obj], _area(a), _area(a) + _area(b) - overlap)
    able = np.zeros(len(image), bool)
    able[det[overlap >= MARGIN * union]] = True
    return able


def _area(boxes: np.ndarray) -> np.ndarray:
    size = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    return size[:, 0] * size[:, 1]


def _entries(image: np.ndarray, boxes: np.ndarray, **columns: list) -> list[dict]:
    """One dict per box, in the form of COCO annotations."""
    xywh = boxes.astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    names = ('id', 'image_id', 'category_id', 'bbox', *columns)
    ids, category = range(1, len(image) + 1), [1] * len(image)
    rows = zip(ids, image.tolist(), category, xywh.tolist(), *columns.values(), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]
