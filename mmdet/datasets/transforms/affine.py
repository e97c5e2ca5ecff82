"""Random affine maps and colours of YOLOX's training, one draw for all frames of a clip."""

import math

import cv2
import numpy as np

from mmdet.datasets.transforms.geometry import clip_boxes
from mmdet.datasets.transforms.mixing import FILLING
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip, Frame

LEAST_SIDE, LEAST_AREA, MOST_RATIO = 2, 0.1, 20  # a box is kept that still has so much


@TRANSFORMS.register_module()
class RandomAffine:
    """Rotate, scale, shear and shift about the middle of the image; grey where nothing is.

    A box becomes the one around its corners, cut off at the image. It is dropped when a side has
    less than 2 pixels, less than a tenth of its area is left, or it is 20 times as long as wide.

    Args:
        degrees: rotation up to this, in either direction.
        translate: shift up to this part of the result's sides.
        scale: lowest and highest factor.
        shear: up to so many degrees.
        border: pixels that the result has more on every side; -320 cuts 640 out of a mosaic of
            1280. It applies to images of twice that size only: others keep their size.

    Attributes:
        enabled: False lets clips pass unchanged, as in the last epochs.
    """

    def __init__(
        self,
        degrees: float = 10.0,
        translate: float = 0.1,
        scale: tuple[float, float] = (0.5, 1.5),
        shear: float = 2.0,
        border: int = 0,
    ) -> None:
        self.degrees, self.translate, self.shear = degrees, translate, shear
        self.scale, self.border = tuple(scale), border
        self.enabled = True

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if not self.enabled:
            return clip
        angle, shear_x, shear_y = np.radians(
            rng.uniform(-1, 1, 3) * [self.degrees, self.shear, self.shear]
        )
        factor, shift = rng.uniform(*self.scale), rng.uniform(-1, 1, 2) * self.translate
        for frame in clip.frames:
            height, width = (side + 2 * self.border for side in frame.image.shape[:2])
            matrix = _matrix(frame.image.shape, (height, width), angle, (shear_x, shear_y), factor)
            matrix[:2, 2] += shift * [width, height]
            _warp(frame, matrix, (height, width))
        return clip


def _matrix(
    old: tuple[int, ...], new: tuple[int, int], angle: float, shear: tuple[float, float],
    factor: float,
) -> np.ndarray:  # fmt: skip
    """3x3, from pixels of the old image to those of the new one; middles coincide."""
    to_origin, back = np.eye(3), np.eye(3)
    to_origin[:2, 2] = -old[1] / 2, -old[0] / 2
    back[:2, 2] = new[1] / 2, new[0] / 2
    turn, slant = np.eye(3), np.eye(3)
    turn[:2, :2] = factor * np.array(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    )
    slant[0, 1], slant[1, 0] = math.tan(shear[0]), math.tan(shear[1])
    return back @ slant @ turn @ to_origin


def _warp(frame: Frame, matrix: np.ndarray, size: tuple[int, int]) -> None:
    frame.image = cv2.warpAffine(
        frame.image, matrix[:2], size[::-1], borderValue=(FILLING, FILLING, FILLING)
    )
    frame.img_shape = size
    before = np.linalg.det(matrix[:2, :2]) * (frame.boxes[:, 2:] - frame.boxes[:, :2]).prod(1)
    frame.map_boxes(lambda boxes: clip_boxes(_around_corners(boxes, matrix), size))
    frame.keep(_worth_keeping(frame.boxes, before))


def _around_corners(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Boxes [K, 4] around the four corners of each after the map."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([moved.min(1), moved.max(1)], axis=1).astype(np.float32)


def _worth_keeping(boxes: np.ndarray, area_before: np.ndarray) -> np.ndarray:
    sides = boxes[:, 2:] - boxes[:, :2]
    ratio = sides.max(1) / np.maximum(sides.min(1), 1e-6)
    left = sides.prod(1) / np.maximum(np.abs(area_before), 1e-6)
    return (sides.min(1) > LEAST_SIDE) & (left > LEAST_AREA) & (ratio < MOST_RATIO)


@TRANSFORMS.register_module()
class RandomHSV:
    """Shift hue, saturation and brightness, each by up to a delta and with a chance of one half.

    Args:
        hue, saturation, value: the largest shifts, of 180, 255 and 255.
    """

    def __init__(self, hue: int = 5, saturation: int = 30, value: int = 30) -> None:
        self.most = (hue, saturation, value)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        shift = rng.uniform(-1, 1, 3) * self.most * rng.integers(0, 2, 3)
        shift = shift.astype(np.int16)
        for frame in clip.frames:
            hsv = cv2.cvtColor(frame.image, cv2.COLOR_BGR2HSV).astype(np.int16) + shift
            hsv[..., 0] %= 180
            hsv[..., 1:] = hsv[..., 1:].clip(0, 255)
            frame.image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)
        return clip
