"""One array for all frames of a clip, which becomes one tensor.

T: frames, H, W: their common size. Transforms that write new images put them side by side into one
[T, H, W, 3] array; each `frame.image` is a row of it. `PackClip`, the last transform, then has
nothing to copy: 5 MB for three frames of 1000x563.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch

from mmdet.core.errors import ConfigError
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip, Frame


def new_block(sizes: Sequence[tuple[int, int]]) -> Sequence[np.ndarray]:
    """Uninitialised images of the given (height, width), side by side if these are the same."""
    if len(set(sizes)) == 1:
        return np.empty((len(sizes), *sizes[0], 3), np.uint8)
    return [np.empty((*size, 3), np.uint8) for size in sizes]


def block_of(frames: Sequence[Frame]) -> np.ndarray | None:
    """The [T, H, W, 3] array whose rows are the images of the frames, if there is such an array."""
    block = frames[0].image.base
    if block is None or block.shape != (len(frames), *frames[0].image.shape):
        return None
    rows = zip(frames, block, strict=True)
    return block if all(_same(frame.image, row) for frame, row in rows) else None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.__array_interface__ == b.__array_interface__


@TRANSFORMS.register_module()
class PackClip:
    """Set `clip.images`, [U, H, W, 3] uint8 BGR, and drop the images of the single frames.

    An image that a clip shows several times (DET clips, the references of a short video) is packed
    once, so that it is also sent to the device and computed once: `clip.rows` tells which is whose.

    Raises:
        ConfigError: the frames have different sizes; names two of them.
    """

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        _check_sizes(clip)
        rows = _distinct(clip.frames)
        count = max(rows) + 1
        if count < len(rows):
            clip.rows = rows
            block = np.stack([clip.frames[rows.index(i)].image for i in range(count)])
        else:
            block = block_of(clip.frames)
            if block is None:
                block = np.stack([frame.image for frame in clip.frames])
        clip.images = torch.from_numpy(block)
        for frame in clip.frames:
            frame.image = None
        return clip


def _distinct(frames: Sequence[Frame]) -> list[int]:
    """For every frame the number of its image, counting images that differ."""
    known: dict[str, list[tuple[int, np.ndarray]]] = {}
    rows, count = [], 0
    for frame in frames:
        same_file = known.setdefault(os.fspath(frame.path), [])
        # crops of their own make copies of a file differ
        equal = (r for r, i in same_file if i is frame.image or np.array_equal(i, frame.image))
        row = next(equal, None)
        if row is None:
            row, count = count, count + 1
            same_file.append((row, frame.image))
        rows.append(row)
    return rows


def _check_sizes(clip: Clip) -> None:
    key = clip.key
    for frame in clip.refs:
        if frame.image.shape != key.image.shape:
            raise ConfigError(
                f'The frames of a clip must have one size, but {key.path} is '
                f'{_size(key.ori_shape)} on disk ({_size(key.img_shape)} resized) and '
                f'{frame.path} is {_size(frame.ori_shape)} ({_size(frame.img_shape)}). A video has '
                f'frames of one size; after crops of different sizes, add PadToLargest.'
            )


def _size(shape: tuple[int, int]) -> str:
    return f'{shape[1]}x{shape[0]}'
