"""Slow, literal versions of box arithmetic, to compare the fast ones with (float64, numpy)."""

import math

import numpy as np


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes; 0 where the union is empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else 0.0


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Greedy suppression of boxes whose IoU with a kept one is above the threshold."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind='stable'):
        if all(iou(boxes[i], boxes[k]) <= threshold for k in kept):
            kept.append(int(i))
    return kept


def decode(box: np.ndarray, delta: np.ndarray, height: float, width: float) -> np.ndarray:
    """A box from one proposal and its offsets (already multiplied by the stds), clipped."""
    w, h = box[2] - box[0], box[3] - box[1]
    limit = math.log(1000 / 16)
    x, y = box[0] + w / 2 + w * delta[0], box[1] + h / 2 + h * delta[1]
    w, h = (
        side * math.exp(np.clip(d, -limit, limit)) for side, d in ((w, delta[2]), (h, delta[3]))
    )
    decoded = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return decoded.clip(0, [width, height, width, height])


def smooth_l1(difference: np.ndarray, beta: float) -> float:
    d = np.abs(np.asarray(difference, np.float64))
    return float(np.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta).sum())


def bilinear(feature: np.ndarray, y: float, x: float) -> np.ndarray:
    """[C] at a point of [C, H, W]: 0 further than one cell outside, else the border repeats."""
    channels, height, width = feature.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    top = feature[:, y0, x0] * (1 - x + x0) + feature[:, y0, x1] * (x - x0)
    bottom = feature[:, y1, x0] * (1 - x + x0) + feature[:, y1, x1] * (x - x0)
    return top * (1 - y + y0) + bottom * (y - y0)


def roi_align(
    feature: np.ndarray, box: np.ndarray, stride: int, sampling_ratio: int, size: int = 7
) -> np.ndarray:
    """[C, size, size] average of bilinear samples, with the half-pixel shift ("aligned")."""
    x1, y1, x2, y2 = np.asarray(box, np.float64) / stride - 0.5
    bins = (y2 - y1) / size, (x2 - x1) / size
    grid = [sampling_ratio or math.ceil(b) for b in bins]
    out = np.zeros((len(feature), size, size))
    for row in range(size):
        for column in range(size):
            for i in range(grid[0]):
                for j in range(grid[1]):
                    y = y1 + (row + (i + 0.5) / grid[0]) * bins[0]
                    x = x1 + (column + (j + 0.5) / grid[1]) * bins[1]
                    out[:, row, column] += bilinear(feature, y, x)
    return out / max(grid[0] * grid[1], 1)


def propose(
    levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]], shape: tuple[int, int], cfg: dict
) -> np.ndarray:
    """[P, 5] proposals of one image from (scores, offsets, anchors) of every level."""
    rows = []
    for level, (scores, deltas, anchors) in enumerate(levels):
        for i in np.argsort(-scores, kind='stable')[: cfg['nms_pre']]:
            box = decode(anchors[i], deltas[i], *shape)
            if min(box[2:] - box[:2]) > cfg['min_bbox_size']:
                rows.append([*box, scores[i], level])
    rows = np.array(rows)
    kept = []
    for level in range(len(levels)):
        own = rows[rows[:, 5] == level]
        kept += list(own[nms(own[:, :4], own[:, 4], cfg['nms']['iou_threshold'])])
    kept.sort(key=lambda row: -row[4])
    return np.array(kept)[: cfg['max_per_img'], :5]


def assign(
    boxes: np.ndarray,
    gts: np.ndarray,
    pos_iou_thr: float,
    neg_iou_thr: float,
    min_pos_iou: float,
    match_low_quality: bool = True,
) -> np.ndarray:
    """-1 ignored, 0 background, k + 1 for ground truth k: the rules one after the other."""
    assigned = np.full(len(boxes), -1)
    if len(gts) == 0:
        return assigned * 0
    ious = np.array([[iou(b, g) for g in gts] for b in boxes], np.float32)
    for n, row in enumerate(ious):
        if row.max() < np.float32(neg_iou_thr):
            assigned[n] = 0
        if row.max() >= np.float32(pos_iou_thr):
            assigned[n] = row.argmax() + 1
    if match_low_quality:
        for k, column in enumerate(ious.T):
            for n, value in enumerate(column):
                if value == column.max() and value >= np.float32(min_pos_iou):
                    assigned[n] = k + 1
    return assigned


def encode(box: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Offsets from a box to its ground truth, not yet divided by the stds."""
    (w, h), (gw, gh) = box[2:] - box[:2], gt[2:] - gt[:2]
    x, y = (gt[:2] + gt[2:] - box[:2] - box[2:]) / 2
    return np.array([x / w, y / h, math.log(gw / w), math.log(gh / h)])
