"""AP50 of the VID protocol as it reads: a loop over ranges, classes, images and detections.

This is how published evaluators work, with the IoU of an image by numpy: what the speed of
`mmdet.evaluation.vid_ap` is compared with, in the same process, and what its AP is tested against,
equal scores and equal overlaps included.
"""

from collections.abc import Sequence

import numpy as np

from mmdet.evaluation.vid_matching import descending

RANGES = {'all': (0.0, 1.0), 'fast': (0.0, 0.7), 'medium': (0.7, 0.9), 'slow': (0.9, 1.0)}


def literal_vid_ap(detections, truth) -> np.ndarray:
    """[R, C] AP of every range and class, NaN where a class has no object in the range.

    Args:
        detections, truth: as `vid_ap` takes them; no crowds.
    """
    images, classes = len(truth.image_ids), len(truth.classes)
    boxes = _by_image_and_class(detections.image, detections.label, images, classes)
    objects = _by_image_and_class(truth.image, truth.label, images, classes)
    table = np.full((len(RANGES), classes), np.nan)
    for r, (low, high) in enumerate(RANGES.values()):
        ignored = (truth.motion < low) | (truth.motion > high)
        share = _share(truth, low, high)
        for c in range(classes):
            found, positives = [], 0
            for i in range(images):
                mine, here = objects[i][c], boxes[i][c]
                positives += int((~ignored[mine]).sum())
                here = here[descending(detections.score[here])]
                outcome = _match(detections.boxes[here], truth.boxes[mine], ignored[mine], share)
                found += zip(detections.score[here].tolist(), outcome, strict=True)
            if positives:
                table[r, c] = _average_precision(found, positives)
    return table


def _by_image_and_class(image, label, images: int, classes: int) -> list[list[np.ndarray]]:
    rows = [[[] for _ in range(classes)] for _ in range(images)]
    for row, (i, c) in enumerate(zip(image.tolist(), label.tolist(), strict=True)):
        rows[i][c].append(row)
    return [[np.array(r, np.int64) for r in per_image] for per_image in rows]


def _share(truth, low: float, high: float) -> float:
    """Weight of a detection on an image without its class: the share of objects in the range."""
    empty = len(truth.image_ids) - len(np.unique(truth.image))
    inside = int(((truth.motion >= low) & (truth.motion <= high)).sum()) + empty * (low <= 0)
    share = inside / (len(truth.motion) + empty)
    return share if 0 < share < 1 else 1.0


def _match(boxes, objects, ignored, share: float) -> list[float]:
    """+1 for a hit, minus its weight for a false positive, 0 for one that does not count."""
    if not len(objects):
        return [-share] * len(boxes)
    overlaps = iou(boxes, objects).tolist()
    ignored = ignored.tolist()
    taken = [False] * len(ignored)
    outcome = []
    for row in overlaps:
        best, hit, nearest = 0.5, -1, {True: -1.0, False: -1.0}
        for k, overlap in enumerate(row):
            nearest[ignored[k]] = max(nearest[ignored[k]], overlap)
            if taken[k] or overlap < best or (overlap == best and hit >= 0 and not ignored[hit]):
                continue
            best, hit = overlap, k
        if hit >= 0:
            taken[hit] = True
            outcome.append(0.0 if ignored[hit] else 1.0)
        elif nearest[True] > nearest[False]:
            outcome.append(0.0)
        elif nearest[True] < nearest[False]:
            outcome.append(-1.0)
        else:
            outcome.append(_tied(ignored))
    return outcome


def _tied(ignored: Sequence[bool]) -> float:
    """As far from counted as from ignored objects: weighs as much as there are ignored ones."""
    weight = sum(ignored) / len(ignored)
    return 0.0 if weight == 1 else -(weight or 1.0)


def iou(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """[n, m] float32, of boxes whose sides are counted with +2, as the protocol does."""
    one = np.float32(1)
    a, b = (x.astype(np.float32) + np.array([0, 0, 1, 1], np.float32) for x in (boxes, objects))
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inside = np.maximum(corner + one, np.float32(0)).prod(axis=2)
    area = [(x[:, 2:] - x[:, :2] + one).prod(axis=1) for x in (a, b)]
    return inside / (area[0][:, None] + area[1][None] - inside)


def _average_precision(found: list[tuple[float, float]], positives: int) -> float:
    true = false = 0.0
    precision, recall = [0.0], [0.0]
    for k in descending(np.array([score for score, _ in found])):
        outcome = found[k][1]
        true += max(outcome, 0)
        false += max(-outcome, 0)
        precision.append(true / (true + false + np.finfo(np.float64).eps))
        recall.append(true / positives)
    for k in range(len(precision) - 2, -1, -1):
        precision[k] = max(precision[k], precision[k + 1])
    return sum((recall[k] - recall[k - 1]) * precision[k] for k in range(1, len(recall)))
