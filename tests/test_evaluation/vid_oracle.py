"""The VID protocol as literal loops, to compare the evaluator with."""

import numpy as np

from mmdet.evaluation.vid_matching import descending

RANGES = {'all': (0.0, 1.0), 'fast': (0.0, 0.7), 'medium': (0.7, 0.9), 'slow': (0.9, 1.0)}
ONE = np.float32(1)


def iou(a, b):
    """float32, the second corner moved by 1 and sides counted with another 1."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    ax2, ay2, bx2, by2 = a[2] + ONE, a[3] + ONE, b[2] + ONE, b[3] + ONE
    w = max(min(ax2, bx2) - max(a[0], b[0]) + ONE, np.float32(0))
    h = max(min(ay2, by2) - max(a[1], b[1]) + ONE, np.float32(0))
    area_a = (ax2 - a[0] + ONE) * (ay2 - a[1] + ONE)
    area_b = (bx2 - b[0] + ONE) * (by2 - b[1] + ONE)
    return (w * h) / (area_a + area_b - w * h)


def literal_vid_ap(results, gt, motion, classes, use_range='all'):
    """AP per class of one range.

    Args:
        results: per image, per class, rows [x1, y1, x2, y2, score].
        gt: per image, a list of (label, box).
        motion: per image, one value per object; [0] for an image without objects.
    """
    low, high = RANGES[use_range]
    entries = [m for per_image in motion for m in (per_image or [0.0])]
    empty_weight = sum(low <= m <= high for m in entries) / len(entries)
    empty_weight = 0 if empty_weight == 1 else empty_weight
    ap = []
    for c in range(classes):
        scores, outcomes, positives = [], [], 0
        for per_class, objects, speeds in zip(results, gt, motion, strict=True):
            mine = [k for k, (label, _) in enumerate(objects) if label == c]
            boxes = [objects[k][1] for k in mine]
            ignored = [speeds[k] < low or speeds[k] > high for k in mine]
            positives += len(mine) - sum(ignored)
            rows = np.asarray(per_class[c], np.float32).reshape(-1, 5)
            rows = rows[descending(rows[:, 4])]
            scores += rows[:, 4].tolist()
            taken = [False] * len(boxes)
            for row in rows:
                empty = (0, empty_weight)
                outcomes.append(_one_detection(row, boxes, ignored, taken) if boxes else empty)
        ap.append(_literal_ap(scores, outcomes, positives))
    return ap


def _one_detection(row, boxes, ignored, taken):
    """(1 for a match, how far it is ignored)."""
    best, arg, near_ignored, near_counted = 0.5, None, -1, -1
    for k, box in enumerate(boxes):
        overlap = iou(row[:4], box)
        if ignored[k]:
            near_ignored = max(near_ignored, overlap)
        else:
            near_counted = max(near_counted, overlap)
        if taken[k] or overlap < best:
            continue
        if overlap > best or arg is None or ignored[arg]:
            arg = k
        best = overlap
    if arg is not None:
        taken[arg] = True
        return 1, float(ignored[arg])
    if near_counted != near_ignored:
        return 0, float(near_ignored > near_counted)
    return 0, sum(ignored) / len(ignored)


def _literal_ap(scores, outcomes, positives):
    if positives == 0:
        return float('nan')
    tp = fp = 0.0
    precision, recall = [0.0], [0.0]
    for k in descending(np.array(scores)):
        match, ignored = outcomes[k]
        if match and ignored != 1:
            tp += 1
        if not match and ignored != 1:
            fp += ignored if ignored != 0 else 1
        precision.append(tp / (tp + fp + np.spacing(1)))
        recall.append(tp / positives)
    precision.append(0.0)
    recall.append(1.0)
    for k in range(len(precision) - 2, -1, -1):
        precision[k] = max(precision[k], precision[k + 1])
    return sum((recall[k + 1] - recall[k]) * precision[k + 1] for k in range(len(recall) - 1))
