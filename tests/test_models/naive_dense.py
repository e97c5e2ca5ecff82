"""Literal CenterNet, cell by cell and object by object (float64, numpy).

`objects` of an image: boxes and labels.
"""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


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
