"""Mosaic and MixUp (YOLOX, arXiv 2107.08430): clips made of several clips.

All frames of a clip are put together in one way: frame t of the result is made of frame t of every
clip that goes into it. Boxes lose their track ids, which are not comparable across videos.
"""

import cv2
import numpy as np

from mmdet.core.errors import ConfigError
from mmdet.datasets.transforms.geometry import clip_boxes, resize_clip
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip, Frame

FILLING = 114  # grey where there is no image


@TRANSFORMS.register_module()
class Mosaic:
    """Four clips around a point of a canvas of twice the size.

    The point is drawn from the middle half of the canvas. Each clip fits into `size` with its ratio
    kept and touches the point with a corner; what reaches over the canvas is cut off. Follow with
    `RandomAffine(border=-size // 2)`, which cuts the middle out.

    Args:
        size: side in pixels of the square that each image fits into.
        prob: of mixing, in 0..1.

    Attributes:
        enabled: False lets clips pass unchanged, as in the last epochs.
    """

    def __init__(self, size: int = 640, prob: float = 1.0) -> None:
        self.size, self.prob, self.enabled = _checked_side(size), prob, True

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if not self.enabled or rng.random() >= self.prob:
            return clip
        x, y = rng.integers(self.size // 2, self.size * 3 // 2, 2, endpoint=True).tolist()
        clips = [clip, *(_other(clip, rng) for _ in range(3))]
        clips = [resize_clip(part, (self.size, self.size)) for part in clips]
        for t, frame in enumerate(clip.frames):
            parts = [_frame(part, t) for part in clips]
            _put_together(frame, parts, (x, y), self.size * 2)
        return clip


def _put_together(frame: Frame, parts: list[Frame], point: tuple[int, int], side: int) -> None:
    """Top left, top right, bottom left, bottom right of `point`."""
    canvas = np.full((side, side, 3), FILLING, np.uint8)
    boxes, labels = [], []
    for number, part in enumerate(parts):
        height, width = part.image.shape[:2]
        left = point[0] - width if number % 2 == 0 else point[0]
        top = point[1] - height if number < 2 else point[1]
        _paste(canvas, part.image, left, top)
        boxes.append(part.boxes + np.array([left, top, left, top], np.float32))
        labels.append(part.labels)
    _set(frame, canvas, np.concatenate(boxes), np.concatenate(labels))


def _paste(canvas: np.ndarray, image: np.ndarray, left: int, top: int) -> None:
    """Put an image on the canvas, as far as it lies there."""
    x1, y1 = max(left, 0), max(top, 0)
    x2 = min(left + image.shape[1], canvas.shape[1])
    y2 = min(top + image.shape[0], canvas.shape[0])
    if x2 > x1 and y2 > y1:
        canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]


@TRANSFORMS.register_module()
class MixUp:
    """The average of the clip and another one, with the boxes of both.

    The other one is scaled to fit `size`, then by a random factor, mirrored or not, and a random
    part of it (or it and grey around it) of the clip's size is taken.

    Args:
        size: side of the square that the other image fits into before the random factor.
        scale: lowest and highest factor.
        flip_prob: of mirroring the other one.
        prob: of mixing, in 0..1.

    Attributes:
        enabled: as of `Mosaic`.
    """

    def __init__(
        self,
        size: int = 640,
        scale: tuple[float, float] = (0.8, 1.6),
        flip_prob: float = 0.5,
        prob: float = 1.0,
    ) -> None:
        self.size, self.prob, self.flip_prob = _checked_side(size), prob, flip_prob
        self.scale, self.enabled = tuple(scale), True

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if not self.enabled or rng.random() >= self.prob:
            return clip
        other = resize_clip(_other(clip, rng), (self.size, self.size))
        factor, mirrored = rng.uniform(*self.scale), rng.random() < self.flip_prob
        place = rng.random(2)
        for t, frame in enumerate(clip.frames):
            _blend(frame, _scaled(_frame(other, t), factor, mirrored), place)
        return clip


def _scaled(
    frame: Frame, factor: float, mirrored: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, boxes and labels of a frame, scaled and perhaps mirrored."""
    image = cv2.resize(frame.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    sides = np.array(image.shape[1::-1] * 2, np.float32)
    boxes = frame.boxes * (sides / np.array(frame.image.shape[1::-1] * 2, np.float32))
    if mirrored:
        image = cv2.flip(image, 1)
        boxes[:, 0::2] = sides[0] - boxes[:, 2::-2]
    return image, boxes, frame.labels


def _blend(frame: Frame, other: tuple, place: np.ndarray) -> None:
    """Mix `other` into the frame; `place` in 0..1 says which part of the larger one, (x, y)."""
    image, boxes, labels = other
    height, width = frame.image.shape[:2]
    slack = np.array([max(image.shape[1] - width, 0), max(image.shape[0] - height, 0)])
    left, top = (-(slack * place)).astype(int)
    canvas = np.full_like(frame.image, FILLING)
    _paste(canvas, image, left, top)
    mixed = cv2.addWeighted(frame.image, 0.5, canvas, 0.5, 0)
    moved = clip_boxes(boxes + np.array([left, top, left, top], np.float32), (height, width))
    sizes = moved[:, 2:] - moved[:, :2]
    kept = (sizes > 0).all(1)
    _set(
        frame,
        mixed,
        np.concatenate([frame.boxes, moved[kept]]),
        np.concatenate([frame.labels, labels[kept]]),
    )


def _other(clip: Clip, rng: np.random.Generator) -> Clip:
    """Another sample of the clip's dataset, read and annotated."""
    if clip.dataset is None:
        raise ConfigError('Mosaic and MixUp work inside of a dataset only')
    return clip.dataset.other_clip(rng)


def _frame(clip: Clip, t: int) -> Frame:
    """Frame t of a clip; the last one of a shorter clip."""
    return clip.frames[min(t, len(clip.frames) - 1)]


def _set(frame: Frame, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> None:
    frame.image, frame.img_shape = image, image.shape[:2]
    frame.boxes, frame.labels = boxes.astype(np.float32), labels
    frame.instance_ids = frame.boxes_ignore = None


def _checked_side(size: int) -> int:
    if not isinstance(size, int) or size < 2:
        raise ConfigError(f'The side of a mosaic or mixup is a number of pixels, not {size!r}.')
    return size
