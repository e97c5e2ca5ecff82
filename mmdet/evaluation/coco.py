"""AP of the COCO protocol, computed by faster-coco-eval.

Unlike `AP50 (VID)`: 101 recall points, IoU without any +1, at most 100 detections per image and
class, and AP over the IoU thresholds .5 to .95. The two must not be compared.

faster-coco-eval takes one dict per box, 14 us each all in all, which neither the time nor the
memory allows for a whole video set. So it gets one class at a time (they are independent), and the
detections on images without that class as one crowd: they can never match, so only how many of them
come between two other detections, and their size class, matters. Same numbers, a third of the time.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.evaluation.results import DetectionArrays, rows_by_class

MAX_DETECTIONS = 100
IOU_50, IOU_75 = 0, 5  # among the thresholds .5, .55, ... .95
AREAS = 4  # all, small, medium, large
AREA_EDGES = np.array([0.0, 32**2, 96**2, 1e10])  # pixels; both ends belong to a range


@dataclass
class COCOResult:
    """AP in 0..1, NaN where there is no object.

    Attributes:
        summary: `AP`, `AP50`, `AP75`, `AP_s`, `AP_m`, `AP_l`.
        ap, ap50: [C] per class.
    """

    summary: dict[str, float]
    ap: np.ndarray
    ap50: np.ndarray


def coco_ap(
    detections: DetectionArrays,
    truth: GroundTruth,
    advance: Callable[[int], None] = lambda _: None,
) -> COCOResult:
    """Score detections under the COCO protocol.

    Args:
        detections: of all images; `image` counts the rows of `truth.image_ids`.
        truth: the ground truth; crowd objects may be matched many times and count neither way.
        advance: called after each class with the number of its detections (progress).
    """
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
    summary = {
        'AP': _mean(every_size),
        'AP50': _mean(every_size[IOU_50]),
        'AP75': _mean(every_size[IOU_75]),
        'AP_s': _mean(precision[..., 1]),
        'AP_m': _mean(precision[..., 2]),
        'AP_l': _mean(precision[..., 3]),
    }
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
    has_class = np.zeros(len(truth.image_ids) + 1, bool)
    has_class[truth.image[obj]] = True
    annotations = _entries(
        truth.image[obj],
        truth.boxes[obj],
        area=truth.area[obj].tolist(),
        iscrowd=truth.crowd[obj].astype(int).tolist(),
    )
    results = _results(
        detections.image[det], detections.boxes[det], has_class, nowhere=len(truth.image_ids)
    )
    images = [{'id': i} for i in {e['image_id'] for e in annotations + results}]
    gt, dt = COCO(), COCO()
    for side, entries in ((gt, annotations), (dt, results)):
        side.dataset = {'images': images, 'categories': [{'id': 1}], 'annotations': entries}
        side.createIndex()
    evaluation = COCOeval_faster(gt, dt, 'bbox', print_function=lambda *_: None)
    evaluation.params.maxDets = [max(len(det), 1)]
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


def _results(
    image: np.ndarray, boxes: np.ndarray, has_class: np.ndarray, nowhere: int
) -> list[dict]:
    """The detections of a class, best first, as dicts.

    On images with the class (near) each has its own. The others (far) are put on the image
    `nowhere`, and those that come between the same two near ones, in the same size class, share a
    dict. A rank stands for the score: 2, 4, 6, ... from the worst near one up, odd for far ones.
    """
    near = has_class[image]
    near_above = np.cumsum(near)
    rank = 2.0 * (near.sum() - near_above) + np.where(near, 2, 1)
    size = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    area = size[:, 0] * size[:, 1]
    size_class = np.searchsorted(AREA_EDGES, area) + np.searchsorted(AREA_EDGES, area, 'right')
    far = np.flatnonzero(~near)
    key = near_above[far] * (2 * len(AREA_EDGES) + 1) + size_class[far]
    _, first, count = np.unique(key, return_index=True, return_counts=True)
    rows = np.concatenate([np.flatnonzero(near), far[first]])
    copies = np.concatenate([np.ones(near.sum(), int), count])
    entries = _entries(
        np.where(near, image, nowhere)[rows],
        boxes[rows],
        area=area[rows].tolist(),
        score=rank[rows].tolist(),
    )
    return [entries[i] for i in np.repeat(np.arange(len(rows)), copies).tolist()]


def _entries(image: np.ndarray, boxes: np.ndarray, **columns: list) -> list[dict]:
    """One dict per box, in the form of COCO annotations."""
    xywh = boxes.astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    names = ('id', 'image_id', 'category_id', 'bbox', *columns)
    ids, category = range(1, len(image) + 1), [1] * len(image)
    rows = zip(ids, image.tolist(), category, xywh.tolist(), *columns.values(), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]
