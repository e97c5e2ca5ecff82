"""Boxes and labels on a frame, readable at any resolution.

Shapes: N boxes, xyxy in pixels of the image given. Images are [H, W, 3] uint8 BGR and are never
changed: every function returns a new one.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmdet.structures import Detections
from mmdet.visualization.fonts import fit_text, put_text, readable_names, text_mask
from mmdet.visualization.palette import Color, class_color, text_color

GROUND_TRUTH_COLOR: Color = (255, 255, 255)
_HALO: Color = (20, 20, 20)  # a dark edge under each line, seen on bright backgrounds

Rect = tuple[int, int, int, int]  # x1, y1, x2, y2


@dataclass(frozen=True)
class Scale:
    """Sizes in pixels that suit one resolution."""

    line: int
    font: int

    @classmethod
    def of(cls, image: np.ndarray) -> 'Scale':
        side = float(np.sqrt(image.shape[0] * image.shape[1]))
        return cls(line=max(1, round(0.7 + side * 0.002)), font=max(9, round(4 + side * 0.0155)))


@dataclass(frozen=True)
class Label:
    """Text that belongs to a box."""

    text: str
    box: Rect
    color: Color


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw the detections of one frame from a score (0..1) on; the surest ones lie on top."""
    scores = detections.scores.numpy()
    order = np.argsort(scores, kind='stable')
    order = order[scores[order] >= score_thr]
    labels = detections.labels.numpy()[order]
    _check_labels(labels, class_names)
    names = readable_names(class_names)
    texts = [f'{names[c]} {s:.2f}' for c, s in zip(labels, scores[order], strict=True)]
    colors = [class_color(int(c)) for c in labels]
    return draw_boxes(image, detections.boxes.numpy()[order], texts, colors)


def draw_ground_truth(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw annotated boxes [N, 4] with 0-based labels [N]: dashed and white, so that they are never
    taken for detections."""
    _check_labels(labels, class_names)
    names = readable_names(class_names)
    texts = [names[int(c)] for c in labels]
    return draw_boxes(image, boxes, texts, [GROUND_TRUTH_COLOR] * len(texts), dashed=True)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str] | None = None,
    colors: Sequence[Color] | None = None,
    dashed: bool = False,
) -> np.ndarray:
    """Draw boxes of any origin, the last one on top.

    Args:
        boxes: [N, 4] xyxy; parts outside the image are cut off, boxes with non-finite
            coordinates left out.
        texts: one label per box, '' for none.
        colors: BGR per box; by default the class colours in order.
        dashed: broken lines, and labels below instead of above.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        given = f'{image.dtype} {list(image.shape)}'
        raise ValueError(f'Drawing needs a uint8 image [H, W, 3] in BGR order, got {given}.')
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    texts = [''] * len(boxes) if texts is None else texts
    colors = [class_color(i) for i in range(len(boxes))] if colors is None else colors
    if not len(boxes) == len(texts) == len(colors):
        raise ValueError(f'{len(boxes)} boxes, {len(texts)} texts and {len(colors)} colours given.')
    canvas, scale = image.copy(), Scale.of(image)
    drawn = []
    for box, text, color in zip(boxes, texts, colors, strict=True):
        if np.isfinite(box).all():
            rect = _clip(box, image.shape)
            _rectangle(canvas, rect, color, scale.line, dashed)
            drawn.append(Label(text, rect, color))
    _draw_labels(canvas, drawn, scale, below=dashed)
    return canvas


def _check_labels(labels: np.ndarray, class_names: Sequence[str]) -> None:
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise ValueError(
            f'Labels run from {labels.min()} to {labels.max()} but there are {len(class_names)} '
            f'class names: the detections come from a model with other classes.'
        )


def _clip(box: np.ndarray, shape: tuple[int, ...]) -> Rect:
    """Whole pixels inside the image; an edge on the border stays visible."""
    height, width = shape[:2]
    x1, y1, x2, y2 = np.rint(np.clip(box, 0, [width - 1, height - 1] * 2)).astype(int).tolist()
    return x1, y1, x2, y2


def _rectangle(canvas: np.ndarray, rect: Rect, color: Color, line: int, dashed: bool) -> None:
    x1, y1, x2, y2 = rect
    halo = line + 2 if line > 1 else 1  # a halo of 1 px would drown a line of 1 px
    for paint, width in ((_HALO, halo), (color, line)):
        if dashed:
            _dashed_rectangle(canvas, rect, paint, width, period=line * 10 + 4)
        elif paint is color or halo > line:
            cv2.rectangle(canvas, (x1, y1), (x2, y2), paint, width)


def _dashed_rectangle(canvas: np.ndarray, rect: Rect, color: Color, line: int, period: int) -> None:
    """Each side in dashes and gaps of about `period` pixels, with a dash at both corners."""
    x1, y1, x2, y2 = rect
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], float)
    for start, end in itertools.pairwise(corners):
        pieces = 2 * max(1, round(float(np.abs(end - start).sum()) / period / 2)) + 1
        for i in range(0, pieces, 2):
            p, q = (np.rint(start + (end - start) * t / pieces) for t in (i, i + 1))
            cv2.line(canvas, p.astype(int).tolist(), q.astype(int).tolist(), color, line)


def _draw_labels(canvas: np.ndarray, labels: Sequence[Label], scale: Scale, below: bool) -> None:
    """Place the labels of the top boxes first, then draw them from the bottom up."""
    placed: list[tuple[Rect, Label, str]] = []
    pad = max(2, scale.font // 4)
    for label in reversed(labels):
        text = fit_text(label.text, scale.font, canvas.shape[1] - 2 * pad)
        if not text:
            continue
        height, width = text_mask(text, scale.font).shape
        spots = _spots(label.box, width + 2 * pad, height, canvas.shape, scale.line, below)
        taken = [rect for rect, _, _ in placed]
        free = (s for s in spots if not any(_overlap(s, t) for t in taken))
        placed.append((next(free, spots[0]), label, text))
    for (x1, y1, x2, y2), label, text in reversed(placed):
        canvas[y1:y2, x1:x2] = label.color
        put_text(canvas, text, x1 + pad, y1, scale.font, text_color(label.color))


def _spots(
    box: Rect, width: int, height: int, shape: tuple[int, ...], line: int, below: bool
) -> list[Rect]:
    """Where a label may lie, best first: outside the box, then inside, shifted into the image."""
    x1, y1, x2, y2 = box
    edge = line // 2
    left, right = x1 - edge, x2 + edge + 1 - width
    over, under = y1 - edge - height, y2 + edge + 1
    inside_top, inside_bottom = max(y1 - edge, 0), min(y2 + edge + 1, shape[0]) - height
    rows = [under, inside_bottom, over] if below else [over, inside_top, under, inside_bottom]
    fits = [y for y in rows if 0 <= y <= shape[0] - height] or rows[:1]
    spots = []
    for x in (left, right):
        x = max(0, min(x, shape[1] - width))
        for y in fits:
            y = max(0, min(y, shape[0] - height))
            spots.append((x, y, x + width, min(y + height, shape[0])))
    return spots


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
