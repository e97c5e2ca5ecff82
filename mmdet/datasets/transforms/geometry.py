"""Resizing and flipping.

Sizes in code are (height, width); `scale` in configs is (long side, short side) in any order, or
exactly (width, height) when the ratio is not kept.
"""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from PIL import Image

from mmdet.core.errors import ConfigError
from mmdet.datasets.transforms.packing import block_of, new_block
from mmdet.registry import TRANSFORMS, closest
from mmdet.structures import Clip, Frame


def scaled_size(size: tuple[int, int], scale: Sequence[float], keep_ratio: bool) -> tuple[int, int]:
    """(height, width) of an image of `size` after resizing.

    Keeping the ratio, the largest size whose long and short side fit `scale`; small images grow.
    A side has at least one pixel, however long the other one is.
    """
    if not keep_ratio:
        return int(scale[1]), int(scale[0])
    factor = min(max(scale) / max(size), min(scale) / min(size))
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def pillow_size(size: tuple[int, int], scale: Sequence[float]) -> tuple[int, int]:
    """(height, width) as maskrcnn-benchmark and its descendants compute it.

    The short side is rounded half to even where the long side limits it; the long side is cut off.
    """
    short = min(scale)
    if max(size) / min(size) * short > max(scale):
        short = round(max(scale) * min(size) / max(size))
    long = int(short * max(size) / min(size))
    return (short, long) if size[0] <= size[1] else (long, short)


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes [K, 4] cut off at the borders of an image of (height, width)."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def resize_clip(
    clip: Clip, scale: Sequence[float], keep_ratio: bool = True, backend: str = 'cv2'
) -> Clip:
    """Resize every frame bilinearly; frames that share one image stay equal.

    Boxes are multiplied by the float32 factors new / old of each side and clipped to the image.
    """
    by_pillow = keep_ratio and backend == 'pillow'
    size_of = pillow_size if by_pillow else partial(scaled_size, keep_ratio=keep_ratio)
    sizes = [size_of(frame.image.shape[:2], scale) for frame in clip.frames]
    resized: dict[int, np.ndarray] = {}  # of an image's id: DET clips repeat one image
    sources = [frame.image for frame in clip.frames]  # keeps the ids valid
    for frame, source, image in zip(clip.frames, sources, new_block(sizes), strict=True):
        if id(source) in resized:
            image[...] = resized[id(source)]
        else:
            BACKENDS[backend](source, image)
            resized[id(source)] = image
        _set_resized(frame, image)
    return clip


def _cv2_resize(source: np.ndarray, out: np.ndarray) -> None:
    cv2.resize(source, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def _pillow_resize(source: np.ndarray, out: np.ndarray) -> None:
    image = Image.fromarray(np.ascontiguousarray(source))
    out[...] = image.resize(out.shape[1::-1], Image.Resampling.BILINEAR)


BACKENDS = {'cv2': _cv2_resize, 'pillow': _pillow_resize}


def _set_resized(frame: Frame, image: np.ndarray) -> None:
    (height, width), (new_height, new_width) = frame.image.shape[:2], image.shape[:2]
    factor = np.array([new_width / width, new_height / height], np.float32)
    frame.map_boxes(lambda boxes: clip_boxes(boxes * np.tile(factor, 2), (new_height, new_width)))
    before = frame.scale_factor
    frame.scale_factor = (before[0] * float(factor[0]), before[1] * float(factor[1]))
    frame.image, frame.img_shape = image, (new_height, new_width)


@TRANSFORMS.register_module()
class Resize:
    """Resize all frames to one scale.

    Args:
        scale: (long side, short side) in pixels; (width, height) with `keep_ratio=False`.
        keep_ratio: fit into the scale instead of filling it.
        backend: 'cv2', or 'pillow': antialiased, with the size that MEGA's weights were trained
            with (1280x720 becomes 999x562, not 1000x563); 11 ms instead of 1 ms for that frame.

    Raises:
        ConfigError: an unknown backend.
    """

    def __init__(self, scale: Sequence[int], keep_ratio: bool = True, backend: str = 'cv2'):
        if backend not in BACKENDS:
            known = closest(backend, BACKENDS)
            raise ConfigError(f'Unknown backend {backend!r} of Resize. {known}')
        self.scale, self.keep_ratio = _checked_scale(scale), keep_ratio
        self.backend = backend

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        return resize_clip(clip, self.scale, self.keep_ratio, self.backend)


@TRANSFORMS.register_module()
class RandomChoiceResize:
    """Resize all frames to one of several scales, drawn once per clip, all equally likely.

    Args:
        scales: as `scale` of `Resize`.
        keep_ratio: as in `Resize`.
    """

    def __init__(self, scales: Sequence[Sequence[int]], keep_ratio: bool = True):
        if not scales:
            raise ConfigError('RandomChoiceResize needs at least one scale')
        self.scales, self.keep_ratio = [_checked_scale(scale) for scale in scales], keep_ratio

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        return resize_clip(clip, self.scales[rng.integers(len(self.scales))], self.keep_ratio)


def _checked_scale(scale: Sequence[int]) -> tuple[int, int]:
    if not isinstance(scale, Sequence) or len(scale) != 2 or min(scale) < 1:
        raise ConfigError(f'A scale is (long side, short side) in pixels, not {scale!r}')
    return tuple(scale)


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirror all frames left to right, or none.

    Args:
        prob: of mirroring, in 0..1.
    """

    def __init__(self, prob: float = 0.5):
        if not 0 <= prob <= 1:
            raise ConfigError(f'RandomFlip: prob must be in 0..1, not {prob!r}')
        self.prob = prob

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if rng.random() >= self.prob:
            return clip
        in_place = block_of(clip.frames) is not None
        for frame in clip.frames:
            frame.image = cv2.flip(frame.image, 1, dst=frame.image if in_place else None)
            frame.flip = not frame.flip
            frame.map_boxes(partial(_mirrored, width=frame.image.shape[1]))
        return clip


def _mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    mirrored = boxes.copy()
    mirrored[:, 0::2] = width - boxes[:, 2::-2]
    return mirrored
