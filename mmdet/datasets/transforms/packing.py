"""The last transform: one tensor for the frames of a clip."""

import numpy as np
import torch

from mmdet.datasets.transforms.block import block_of
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip


@TRANSFORMS.register_module()
class PackClip:
    """Set `clip.images`, [T, H, W, 3] uint8 BGR, and drop the images of the single frames.

    Raises:
        ValueError: the frames have different sizes; names two of them.
    """

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        block = block_of(clip.frames)
        if block is None:
            _check_sizes(clip)
            block = np.stack([frame.image for frame in clip.frames])
        clip.images = torch.from_numpy(block)
        for frame in clip.frames:
            frame.image = None
        return clip


def _check_sizes(clip: Clip) -> None:
    key = clip.key
    for frame in clip.refs:
        if frame.image.shape != key.image.shape:
            raise ValueError(
                f'The frames of a clip must have one size, but {key.path} is '
                f'{_size(key.ori_shape)} on disk ({_size(key.img_shape)} resized) and '
                f'{frame.path} is {_size(frame.ori_shape)} ({_size(frame.img_shape)}). A video has '
                f'frames of one size; after crops of different sizes, add PadToLargest.'
            )


def _size(shape: tuple[int, int]) -> str:
    return f'{shape[1]}x{shape[0]}'
