"""Reading frames and their annotations."""

import os
from collections.abc import Callable

import numpy as np

from mmdet.core.errors import ConfigError
from mmdet.core.images import read_image
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip, Frame


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

    def __init__(self):
        self._source = None

    def lend(self, source: Callable[[Frame], None]) -> None:
        """Called by the dataset: `source` fills a frame with its ground truth."""
        if self._source is not None:
            raise ConfigError('Two datasets cannot share one LoadAnnotations: give each its own')
        self._source = source

    def __getstate__(self) -> dict:
        """Without the source, which maps a file: the dataset lends it again in another process."""
        return {'_source': None}

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if self._source is None:
            raise ConfigError('LoadAnnotations works inside of a dataset with annotations only')
        for frame in clip.frames:
            self._source(frame)
        return clip
