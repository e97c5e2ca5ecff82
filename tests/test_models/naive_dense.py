"""Literal FCOS, YOLOX and CenterNet, point by point and object by object (float64, numpy).

`objects` of an image: boxes and labels. A point is (x, y, stride).
"""

import math

import numpy as np
from naive import iou, nms

FCOS_RANGES = {8: (-1, 64), 16: (64, 128), 32: (128, 256), 64: (256, 512), 128: (512, 1e8)}


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def cross_entropy(p: float, target: float) -> float:
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def cell_centres(sizes: dict[int, tuple[int, int]], strides: list[int]) -> list[tuple]:
    """Level by level, row by row."""
    return [
        ((j + 0.5) * stride, (i + 0.5) * stride, stride)
        for stride in strides
        for i in range(sizes[stride][0])
        for j in range(sizes[stride][1])
    ]


def suppressed(candidates: list[tuple], threshold: float, most: int) -> list[tuple]:
    """(box, score, label, level) of those that survive suppression by class, best first."""
    survivors = []
    for label in {c[2] for c in candidates}:
        same = [c for c in candidates if c[2] == label]
        kept = nms(np.array([c[0] for c in same]), np.array([c[1] for c in same]), threshold)
        survivors += [same[i] for i in kept]
    return sorted(survivors, key=lambda c: -c[1])[:most]


# ---- FCOS


def fcos_target(point, boxes, labels, background: int) -> tuple[int, list[float]]:
    """Label and (left, top, right, bottom) of one point."""
    x, y, stride = point
    low, high = FCOS_RANGES[stride]
    best, chosen, smallest = background, [0.0] * 4, math.inf
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        sides = [x - x1, y - y1, x2 - x, y2 - y]
        area = (x2 - x1) * (y2 - y1)
        if min(sides) > 0 and low <= max(sides) <= high and area < smallest:
            best, chosen, smallest = int(label), sides, area
    return best, chosen


def fcos_losses(logits, distances, centerness, points, objects) -> dict[str, float]:
    """Of one image: logits [P, C], distances [P, 4], centerness logits [P]."""
    classes = len(logits[0])
    cls = bbox = ctr = centred = positives = 0.0
    for i, (x, y, stride) in enumerate(points):
        label, wanted = fcos_target((x, y, stride), *objects, classes)
        for c, p in enumerate(sigmoid(logits[i])):
            positive, negative = -((1 - p) ** 2) * math.log(p), -(p**2) * math.log(1 - p)
            cls += 0.25 * positive if c == label else 0.75 * negative
        if label == classes:
            continue
        left, top, right, bottom = wanted
        target = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
        target = math.sqrt(target)
        box = [[x - d[0], y - d[1], x + d[2], y + d[3]] for d in (distances[i], wanted)]
        bbox -= target * math.log(max(iou(*box), 1e-6))
        ctr += cross_entropy(float(sigmoid(centerness[i])), target)
        centred, positives = centred + target, positives + 1
    return dict(
        loss_cls=cls / max(positives, 1),
        loss_bbox=bbox / max(centred, 1e-6),
        loss_centerness=ctr / max(positives, 1),
    )


def fcos_candidates(logits, distances, centerness, points, size, nms_pre, score_thr) -> list[tuple]:
    """(box, score, label) of one level; `size`: (height, width)."""
    pairs = [(s, i, c) for i, row in enumerate(sigmoid(logits)) for c, s in enumerate(row)]
    candidates = []
    for score, i, label in sorted((p for p in pairs if p[0] > score_thr), reverse=True)[:nms_pre]:
        (x, y, _), (left, top, right, bottom) = points[i], distances[i]
        box = np.array([x - left, y - top, x + right, y + bottom]).clip(0, [*size[::-1]] * 2)
        candidates.append((box, score * float(sigmoid(centerness[i])), label))
    return candidates


# ---- YOLOX


def sim_ota(scores, boxes, points, objects, radius=2.5, topk=10) -> dict[int, int]:
    """Point -> object of one image."""
    rows, labels = objects

    def places(i, k):
        (x, y, stride), (x1, y1, x2, y2) = points[i], rows[k]
        near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < radius * stride
        return x1 < x < x2 and y1 < y < y2, near

    count = range(len(rows))
    usable = [i for i in range(len(points)) if any(any(places(i, k)) for k in count)]
    cost, overlap = {}, {}
    for i in usable:
        for k in count:
            overlap[i, k] = iou(boxes[i], rows[k])
            cost[i, k] = -3 * math.log(overlap[i, k] + 1e-7)
            for c, score in enumerate(scores[i]):
                p = math.sqrt(score) if c == labels[k] else 1 - math.sqrt(score)
                cost[i, k] -= max(math.log(p), -100) if p else -100
            cost[i, k] += 0 if all(places(i, k)) else 1e8
    asked: dict[int, list[int]] = {}
    for k in count:
        best = sorted((overlap[i, k] for i in usable), reverse=True)[:topk]
        for i in sorted(usable, key=lambda i: cost[i, k])[: max(int(sum(best)), 1)]:
            asked.setdefault(i, []).append(k)
    return {
        i: ks[0] if len(ks) == 1 else min(count, key=lambda k: cost[i, k])
        for i, ks in asked.items()
    }


def yolox_boxes(raw, points) -> list[list[float]]:
    """Shifts of the centre from the cell's corner and logarithms of the size, in strides."""
    boxes = []
    for (x, y, s), (dx, dy, dw, dh) in zip(points, raw, strict=True):
        cx, cy, w, h = x - s / 2 + dx * s, y - s / 2 + dy * s, math.exp(dw) * s, math.exp(dh) * s
        boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    return boxes


def yolox_losses(logits, raw, objectness, points, objects) -> dict[str, float]:
    """Of one image: logits [P, C], raw boxes [P, 4], objectness logits [P]."""
    boxes, probability, presence = yolox_boxes(raw, points), sigmoid(logits), sigmoid(objectness)
    assigned = sim_ota(probability * presence[:, None], boxes, points, objects)
    losses = dict(loss_cls=0.0, loss_bbox=0.0, loss_obj=0.0, loss_l1=0.0)
    for i, (x, y, s) in enumerate(points):
        losses['loss_obj'] += cross_entropy(presence[i], float(i in assigned))
        if i not in assigned:
            continue
        (x1, y1, x2, y2), label = (part[assigned[i]] for part in objects)
        overlap = iou(boxes[i], (x1, y1, x2, y2))
        for c, p in enumerate(probability[i]):
            losses['loss_cls'] += cross_entropy(p, overlap if c == label else 0)
        losses['loss_bbox'] += 5 * (1 - overlap**2)
        wanted = [((x1 + x2) / 2 - x) / s + 0.5, ((y1 + y2) / 2 - y) / s + 0.5]
        wanted += [math.log((x2 - x1) / s), math.log((y2 - y1) / s)]
        losses['loss_l1'] += sum(abs(a - b) for a, b in zip(raw[i], wanted, strict=True))
    return {name: value / max(len(assigned), 1) for name, value in losses.items()}


# ---- CenterNet


def gaussian_radius(width: float, height: float) -> int:
    """The largest whole move that keeps an IoU of 0.3 in all three ways, by trying."""

    def overlaps(r: float) -> list[float]:
        area = width * height
        inner = max(width - 2 * r, 0) * max(height - 2 * r, 0)
        outer = (width + 2 * r) * (height + 2 * r)
        both = max(width - r, 0) * max(height - r, 0)
        return [inner / area, area / outer, both / (2 * area - both)]

    return next(r for r in range(300) if min(overlaps(r + 1)) < 0.3)


def heatmap(boxes, labels, shape: tuple[int, int, int], stride: int) -> np.ndarray:
    """Of (classes, height, width)."""
    values = np.zeros(shape)
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        cx, cy = int((x1 + x2) / 2 / stride), int((y1 + y2) / 2 / stride)
        r = gaussian_radius((x2 - x1) / stride, (y2 - y1) / stride)
        for i in range(max(cy - r, 0), min(cy + r + 1, shape[1])):
            for j in range(max(cx - r, 0), min(cx + r + 1, shape[2])):
                bell = math.exp(-((i - cy) ** 2 + (j - cx) ** 2) / (2 * ((2 * r + 1) / 6) ** 2))
                values[label, i, j] = max(values[label, i, j], bell)
    return values


def centernet_losses(logits, sizes, offsets, objects, stride: int) -> dict[str, float]:
    """Of one image: logits [C, h, w], sizes and offsets [2, h, w]."""
    wanted, p = heatmap(*objects, logits.shape, stride), sigmoid(logits)
    positive = (-np.log(p) * (1 - p) ** 2)[wanted == 1].sum()
    negative = (-np.log(1 - p) * p**2 * (1 - wanted) ** 4)[wanted < 1].sum()
    cells = {}  # of several objects in one the last
    for x1, y1, x2, y2 in np.array(objects[0]) / stride:
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        cells[int(cy), int(cx)] = np.array([x2 - x1, y2 - y1]), np.array([cx % 1, cy % 1])
    size = sum(abs(sizes[:, i, j] - wh).sum() for (i, j), (wh, _) in cells.items())
    offset = sum(abs(offsets[:, i, j] - xy).sum() for (i, j), (_, xy) in cells.items())
    peaks = max(int((wanted == 1).sum()), 1)
    return dict(
        loss_heatmap=(positive + negative) / peaks,
        loss_wh=0.1 * size / (2 * peaks),
        loss_offset=offset / (2 * peaks),
    )


def centernet_peaks(logits, sizes, offsets, stride: int) -> list[tuple]:
    """(box, score, label) of every cell that none of its eight neighbours exceeds, best first."""
    peaks = []
    for c, i, j in np.ndindex(logits.shape):
        if logits[c, i, j] == logits[c, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max():
            centre, half = np.array([j, i]) + offsets[:, i, j], sizes[:, i, j] / 2
            box = np.concatenate([centre - half, centre + half]) * stride
            peaks.append((box, float(sigmoid(logits[c, i, j])), c))
    return sorted(peaks, key=lambda p: -p[1])
