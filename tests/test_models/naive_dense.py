"""Literal FCOS and YOLOX, point by point and object by object (float64, numpy)."""

import math

import numpy as np
from naive import iou, nms

FCOS_RANGES = {8: (-1, 64), 16: (64, 128), 32: (128, 256), 64: (256, 512), 128: (512, 1e8)}


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def fcos_points(sizes: list[tuple[int, int]], strides: list[int]) -> list[tuple[float, float, int]]:
    """(x, y, stride) of every point, level by level, row by row."""
    return [
        ((j + 0.5) * stride, (i + 0.5) * stride, stride)
        for (height, width), stride in zip(sizes, strides, strict=True)
        for i in range(height)
        for j in range(width)
    ]


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


def fcos_losses(logits, distances, centerness, points, boxes, labels) -> dict[str, float]:
    """Of one image: logits [P, C], distances [P, 4], centerness logits [P]."""
    classes = len(logits[0])
    cls = bbox = ctr = centred = 0.0
    positives = 0
    for i, point in enumerate(points):
        label, wanted = fcos_target(point, boxes, labels, classes)
        for c, p in enumerate(sigmoid(logits[i])):
            cls += (
                -0.25 * (1 - p) ** 2 * math.log(p) if c == label else -0.75 * p**2 * math.log(1 - p)
            )
        if label == classes:
            continue
        positives += 1
        left, top, right, bottom = wanted
        target = math.sqrt(
            min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
        )
        x, y, _ = point
        box = [[x - d[0], y - d[1], x + d[2], y + d[3]] for d in (distances[i], wanted)]
        bbox += -target * math.log(max(iou(*box), 1e-6))
        centred += target
        p = float(sigmoid(centerness[i]))
        ctr += -target * math.log(p) - (1 - target) * math.log(1 - p)
    return dict(
        loss_cls=cls / max(positives, 1),
        loss_bbox=bbox / max(centred, 1e-6),
        loss_centerness=ctr / max(positives, 1),
    )


def suppressed(candidates: list[tuple], threshold: float, most: int) -> list[tuple]:
    """(box, score, label, level) of those that survive suppression by class, best first."""
    survivors = []
    for label in {c[2] for c in candidates}:
        same = [c for c in candidates if c[2] == label]
        kept = nms(np.array([c[0] for c in same]), np.array([c[1] for c in same]), threshold)
        survivors += [same[i] for i in kept]
    return sorted(survivors, key=lambda c: -c[1])[:most]


def fcos_detections(levels, size, nms_pre, score_thr, threshold, most) -> list[tuple]:
    """`levels`: (logits, distances, centerness, points) of one image; `size`: (height, width)."""
    candidates = []
    for level, (logits, distances, centerness, points) in enumerate(levels):
        pairs = [(s, i, c) for i, row in enumerate(sigmoid(logits)) for c, s in enumerate(row)]
        pairs = sorted((p for p in pairs if p[0] > score_thr), key=lambda p: -p[0])[:nms_pre]
        for score, i, label in pairs:
            x, y, _ = points[i]
            left, top, right, bottom = distances[i]
            box = np.array([x - left, y - top, x + right, y + bottom])
            box = box.clip(0, [size[1], size[0], size[1], size[0]])
            candidates.append((box, score * float(sigmoid(centerness[i])), label, level))
    return suppressed(candidates, threshold, most)


def sim_ota(scores, boxes, points, objects, labels, radius=2.5, topk=10) -> dict[int, int]:
    """Point -> object of one image. `points`: (x, y, stride) of the cells' centres."""

    def places(point, k):
        x, y, stride = point
        x1, y1, x2, y2 = objects[k]
        in_box = x1 < x < x2 and y1 < y < y2
        near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < radius * stride
        return in_box, near

    count = len(objects)
    usable = [i for i, p in enumerate(points) if any(any(places(p, k)) for k in range(count))]
    cost, overlap = {}, {}
    for i in usable:
        for k in range(count):
            overlap[i, k] = iou(boxes[i], objects[k])
            value = 3 * -math.log(overlap[i, k] + 1e-7)
            for c, score in enumerate(scores[i]):
                root = math.sqrt(score)
                value -= max(math.log(root if c == labels[k] else 1 - root), -100)
            cost[i, k] = value + (0 if all(places(points[i], k)) else 1e8)
    asked: dict[int, list[int]] = {}
    for k in range(count):
        best = sorted((overlap[i, k] for i in usable), reverse=True)[:topk]
        wanted = max(int(sum(best)), 1)
        for i in sorted(usable, key=lambda i: cost[i, k])[:wanted]:
            asked.setdefault(i, []).append(k)
    return {
        i: ks[0] if len(ks) == 1 else min(range(count), key=lambda k: cost[i, k])
        for i, ks in asked.items()
    }


def yolox_losses(logits, raw, objectness, points, objects, labels) -> dict[str, float]:
    """Of one image: logits [P, C], raw boxes [P, 4], objectness logits [P], cells' centres."""
    boxes = []
    for (x, y, stride), (dx, dy, dw, dh) in zip(points, raw, strict=True):
        cx, cy = x - stride / 2 + dx * stride, y - stride / 2 + dy * stride
        w, h = math.exp(dw) * stride, math.exp(dh) * stride
        boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    probability, presence = sigmoid(logits), sigmoid(objectness)
    found = sim_ota(probability * presence[:, None], boxes, points, objects, labels)
    losses = dict(loss_cls=0.0, loss_bbox=0.0, loss_obj=0.0, loss_l1=0.0)
    for i, (x, y, stride) in enumerate(points):
        losses['loss_obj'] -= math.log(presence[i] if i in found else 1 - presence[i])
        if i not in found:
            continue
        x1, y1, x2, y2 = objects[found[i]]
        overlap = iou(boxes[i], objects[found[i]])
        for c, p in enumerate(probability[i]):
            target = overlap if c == labels[found[i]] else 0
            losses['loss_cls'] -= target * math.log(p) + (1 - target) * math.log(1 - p)
        losses['loss_bbox'] += 5 * (1 - overlap**2)
        wanted = [
            ((x1 + x2) / 2 - (x - stride / 2)) / stride,
            ((y1 + y2) / 2 - (y - stride / 2)) / stride,
            math.log((x2 - x1) / stride),
            math.log((y2 - y1) / stride),
        ]
        losses['loss_l1'] += sum(abs(a - b) for a, b in zip(raw[i], wanted, strict=True))
    return {name: value / max(len(found), 1) for name, value in losses.items()}
