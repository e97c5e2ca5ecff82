"""From frames of any source to the clips that a model takes, as the test dataset makes them."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from mmengine import Config
from torch import nn

from mmdet.core.errors import ConfigError, VideoError
from mmdet.datasets.ref_sampling import RefSampler, causal_sampler
from mmdet.datasets.transforms import LoadAnnotations, LoadFrames, Pipeline
from mmdet.registry import check_arguments
from mmdet.structures import Clip, Frame
from mmdet.video.frame_source import FrameSource, SourceFrame
from mmdet.video.prefetch import Prefetcher


class PreparedClip(NamedTuple):
    """A frame of a source and the clip that has it as key frame."""

    frame: SourceFrame
    clip: Clip


@dataclass
class _Video:
    """What is read of a source: every `stride`-th frame, as if the others did not exist.

    `length` counts the frames that are read; None where only the past may be used.
    """

    source: FrameSource
    stride: int
    length: int | None
    video_id: int


class ClipMaker:
    """Makes clips of frames in memory with the test pipeline and the test references of a config.

    Args:
        cfg: its `test_dataloader.dataset` gives `pipeline` and `ref_img_sampler`.
        model: tells by `keeps_window` what it uses of the past, and by `together` whether it takes
            frames of changing size.

    Attributes:
        offline_sampler: references from the whole video; None where the config has none.
        causal_sampler: references from the past; None for a model that needs none, because it
            keeps a memory or looks at the frame only.

    Raises:
        ConfigError: the config has no test pipeline.
    """

    def __init__(self, cfg: Config, model: nn.Module) -> None:
        dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
        if not dataset.get('pipeline'):
            raise ConfigError(
                'The config has no `test_dataloader.dataset.pipeline`, which says how frames are '
                'resized. Inherit one from configs/_base_/datasets.'
            )
        transforms = Pipeline(dataset['pipeline']).transforms
        self.pipeline = Pipeline(
            [t for t in transforms if not isinstance(t, (LoadFrames, LoadAnnotations))]
        )
        offline = dataset.get('ref_img_sampler')
        self.offline_sampler = _sampler(offline)
        keeps_window = getattr(model, 'keeps_window', False)
        self.causal_sampler = _sampler(causal_sampler(offline, keeps_window))
        self.fixed_size = not getattr(model, 'together', False)

    def clips(
        self, source: FrameSource, stride: int, causal: bool, drop_late: bool, video_id: int
    ) -> Generator[PreparedClip, None, None]:
        """A clip for every `stride`-th frame. Closes the source at the end.

        Raises:
            VideoError: no frame at all, or frames of different size where the model needs one.
        """
        frames = source.frames(stride)
        if drop_late:
            frames = Prefetcher(frames, depth=1, drop_oldest=True)
        try:
            length = None if causal else -(-source.count() // stride)
            video = _Video(source, stride, length, video_id)
            shape = None
            for position, frame in enumerate(frames):
                shape = shape or frame.image.shape
                if self.fixed_size:
                    _check_size(source, frame.index, frame.image, shape)
                yield PreparedClip(frame, self.clip(video, position, frame))
            if shape is None:
                raise VideoError(f'No frame to look at: {source.broken or source.name}.')
        finally:
            if frames.close() is not False:  # False: a thread still reads from the source
                source.close()

    def clip(self, video: _Video, position: int, frame: SourceFrame) -> Clip:
        """The clip of one key frame, which is at `position` among those that are read."""
        sampler = self.offline_sampler if video.length else self.causal_sampler
        total = max(video.length or 0, position + 1)
        rng = np.random.default_rng(position)
        refs = sampler(position, total, rng, pad=False) if sampler else []
        images = {position: frame.image}
        for ref in refs:
            if ref not in images:
                images[ref] = video.source.read(ref * video.stride)
                _check_size(video.source, ref * video.stride, images[ref], frame.image.shape)
        frames = []
        for at in [position, *refs]:
            index = frame.index if at == position else at * video.stride
            frames.append(_frame(video, index, at, total, images[at]))
        clip = Clip(frames)
        if sampler is not None and sampler.window is not None:
            clip.num_left_refs, clip.frame_stride = sampler.window
        return self.pipeline(clip, rng)


def _frame(video: _Video, index: int, position: int, total: int, image: np.ndarray) -> Frame:
    return Frame(
        path=f'{video.source.name} frame {index}',
        image_id=index + 1,  # as in a CocoVID file of this one video
        video_id=video.video_id,
        frame_id=position,
        video_length=total,
        image=image,
        ori_shape=image.shape[:2],
        img_shape=image.shape[:2],
    )


def _check_size(source: FrameSource, index: int, image: np.ndarray, shape: tuple) -> None:
    if image.shape != shape:
        raise VideoError(
            f'Frame {index} of {source.name} is {image.shape[1]}x{image.shape[0]}, but a frame '
            f'before it is {shape[1]}x{shape[0]}: this model needs frames of one size; start a new '
            f'stream where the size changes.'
        )


def _sampler(config: Mapping[str, Any] | None) -> RefSampler | None:
    if config is None:
        return None
    check_arguments(RefSampler, config, 'ref_img_sampler')
    return RefSampler(**config)
