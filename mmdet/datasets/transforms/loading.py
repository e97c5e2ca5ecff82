"""Reading frames and their annotations."""

import os

import numpy as np

from mmdet.core.errors import ConfigError
from mmdet.core.images import read_image
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip


@TRANSFORMS.register_module()
class LoadFrames:
    """Read `frame.path` of every frame; a file that occurs several times is read once.

    Sets `image`, `ori_shape`, `img_shape`. Frames of the same file share one array, so the
    transforms that follow must not write into it.
    """

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        images: dict[str, np.ndarray] = {}
        for frame in clip.frames:
            if frame.path not in images:
                images[frame.path] = read_image(os.fspath(frame.path))
            frame.image = images[frame.path]
            frame.ori_shape = frame.img_shape = frame.image.shape[:2]
        return clip


@TRANSFORMS.register_module()
class LoadAnnotations:
    """Boxes, labels, instance ids and ignored boxes of every frame, in original pixels."""

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if clip.dataset is None:
            raise ConfigError('LoadAnnotations works inside of a dataset with annotations only')
        for frame in clip.frames:
            clip.dataset.annotate(frame)
        return clip
