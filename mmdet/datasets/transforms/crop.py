"""Cropping, and making cropped frames one size again."""

import numpy as np

from mmdet.core.errors import ConfigError
from mmdet.datasets.transforms.geometry import clip_boxes
from mmdet.datasets.transforms.packing import block_of, new_block
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip, Frame


@TRANSFORMS.register_module()
class RandomCrop:
    """Cut a random window out of every frame.

    Height and width are drawn independently, uniform in [min(side, min_size), min(side, max_size)],
    then the place, uniform over the image. Boxes are cut off at the window; those that vanish are
    dropped with their labels and ids, so a frame may be left without any.

    Args:
        min_size, max_size: of a side of the window, in pixels.
        per_frame: a window of its own for every frame, drawn in the order of the clip (follow with
            `PadToLargest`); otherwise one window for the clip, whose frames have one size.
    """

    def __init__(self, min_size: int = 384, max_size: int = 600, per_frame: bool = False):
        if not 1 <= min_size <= max_size:
            raise ConfigError(
                f'RandomCrop: 1 <= min_size <= max_size must hold, not {min_size}, {max_size}'
            )
        self.min_size, self.max_size, self.per_frame = min_size, max_size, per_frame

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        window = None
        for frame in clip.frames:
            if self.per_frame or window is None:
                window = self._window(frame.image.shape[:2], rng)
            _crop(frame, *window)
        return clip

    def _window(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """(top, left, height, width)"""
        height, width = (
            rng.integers(min(side, self.min_size), min(side, self.max_size), endpoint=True)
            for side in size
        )
        top = rng.integers(size[0] - height, endpoint=True)
        left = rng.integers(size[1] - width, endpoint=True)
        return top, left, height, width


def _crop(frame: Frame, top: int, left: int, height: int, width: int) -> None:
    frame.image = frame.image[top : top + height, left : left + width]
    frame.img_shape = frame.image.shape[:2]
    offset = np.array([left, top, left, top], np.float32)
    frame.map_boxes(lambda boxes: clip_boxes(boxes - offset, frame.img_shape))
    if frame.boxes is not None:
        frame.keep(_not_empty(frame.boxes))
    if frame.boxes_ignore is not None:
        frame.boxes_ignore = frame.boxes_ignore[_not_empty(frame.boxes_ignore)]


def _not_empty(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


@TRANSFORMS.register_module()
class PadToLargest:
    """Fill frames up with zeros at the right and the bottom to the largest height and width.

    The filling counts as image from here on (`img_shape` includes it), as in STPN's training.
    """

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        heights, widths = zip(*(frame.image.shape[:2] for frame in clip.frames), strict=True)
        largest = max(heights), max(widths)
        if block_of(clip.frames) is not None:
            return clip
        for frame, image in zip(clip.frames, new_block([largest] * len(heights)), strict=True):
            height, width = frame.image.shape[:2]
            image[:height, :width] = frame.image
            image[height:] = 0
            image[:height, width:] = 0
            frame.image, frame.img_shape = image, largest
        return clip
