"""From frames of any source to the clips that a model takes, as the test dataset makes them."""

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from mmengine import Config
from torch import nn

from mmdet.core.errors import ConfigError, VideoError
from mmdet.datasets.transforms import LoadAnnotations, LoadFrames, Pipeline
from mmdet.plans import Plan, make_clip
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

    `length` counts the frames that are read; None where only the past may be used. `ahead` holds
    the frames from the next key frame on that a window has asked for already.
    """

    source: FrameSource
    stride: int
    length: int | None
    video_id: int
    ahead: dict[int, np.ndarray] = field(default_factory=dict)


class ClipMaker:
    """Makes clips of frames in memory with the test pipeline of a config and a model's plans.

    Args:
        cfg: its `test_dataloader.dataset` gives `pipeline` and `ref_img_sampler`.
        model: gives the plans and tells by `fixed_size` whether it takes frames of changing size.

    Attributes:
        offline_plan: references from the whole video; None for a key frame alone.
        causal_plan: references from the past; None for a model that needs none, because it
            keeps a memory or looks at the frame only.
        on_gpu: of the model; clips then lie in memory that the GPU fetches them from.

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
        sampler = dataset.get('ref_img_sampler')
        self.offline_plan: Plan | None = model.plan('offline', sampler)
        self.causal_plan: Plan | None = model.plan('causal', sampler)
        self.fixed_size = model.fixed_size
        self.on_gpu = next(model.parameters()).is_cuda

    def clips(
        self, source: FrameSource, stride: int, causal: bool, drop_late: bool, video_id: int
    ) -> Generator[PreparedClip, None, None]:
        """A clip for every `stride`-th frame. Closes the source at the end.

        Where clips look ahead, frames are read as far ahead and kept, so that each is decoded once.

        Raises:
            VideoError: no frame at all, or frames of different size where the model needs one.
        """
        frames = source.frames(stride)
        if drop_late:
            frames = Prefetcher(frames, depth=1, drop_oldest=True)
        try:
            length = None if causal else -(-source.count() // stride)
            video = _Video(source, stride, length, video_id)
            plan = self.causal_plan if causal else self.offline_plan
            lookahead = plan.lookahead if plan is not None else 0
            shape = None
            for position, frame in _looking_ahead(frames, video.ahead, lookahead):
                shape = shape or frame.image.shape
                if self.fixed_size:
                    _check_size(source, frame.index, frame.image, shape)
                clip = self.clip(video, position, frame)
                yield PreparedClip(frame, clip.pin_memory() if self.on_gpu else clip)
            if shape is None:
                raise VideoError(f'No frame to look at: {source.broken or source.name}.')
        finally:
            if frames.close() is not False:  # False: a thread still reads from the source
                source.close()

    def clip(self, video: _Video, position: int, frame: SourceFrame) -> Clip:
        """The clip of one key frame, which is at `position` among those that are read."""
        plan = self.offline_plan if video.length else self.causal_plan
        total = max(video.length or 0, position + 1)
        images = {position: frame.image}

        def frame_of(at: int) -> Frame:
            index = frame.index if at == position else at * video.stride
            if at not in images:
                known = video.ahead.get(at)
                images[at] = video.source.read(index) if known is None else known
                _check_size(video.source, index, images[at], frame.image.shape)
            return _frame(video, index, at, total, images[at])

        rng = np.random.default_rng(position)
        return self.pipeline(make_clip(plan, position, total, rng, frame_of), rng)


def _looking_ahead(
    frames: Iterator[SourceFrame], ahead: dict[int, np.ndarray], count: int
) -> Iterator[tuple[int, SourceFrame]]:
    """Frames with their positions, given out `count` frames late; `ahead` holds the images from the
    one given out to the newest."""
    waiting: deque[tuple[int, SourceFrame]] = deque()
    for position, frame in enumerate(frames):
        waiting.append((position, frame))
        ahead[position] = frame.image
        if len(waiting) > count:
            yield waiting[0]
            ahead.pop(waiting.popleft()[0])
    while waiting:
        yield waiting[0]
        ahead.pop(waiting.popleft()[0])


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
