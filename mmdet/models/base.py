"""What every detector shares: weights in the module, everything about a video in a state."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmdet.models.batch import ClipBatch
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections


@dataclass
class VideoState:
    """What a model remembers of one video; made by `init_state`, passed to every `step`.

    `generator` is the only source of randomness at test time. It is seeded from (seed, video id),
    so results do not depend on the number of processes, the order of videos or what ran before.
    """

    video_id: int
    generator: torch.Generator = field(repr=False)
    frame_size: tuple[int, int] | None = None  # (height, width) of the resized frames
    frames_seen: int = 0

    @property
    def is_new(self) -> bool:
        return self.frames_seen == 0

    def admit(self, clip: Clip, fixed_size: bool) -> None:
        """Check that `clip` may follow what the state has seen.

        Raises:
            ValueError: the frame is of another video, or of another size where sizes must stay.
        """
        frame = clip.key
        if frame.video_id != self.video_id:
            raise ValueError(
                f'A frame of video {frame.video_id} came with the state of video {self.video_id}. '
                f'Call init_state(video_id={frame.video_id}) when a video starts.'
            )
        if fixed_size and self.frame_size not in (None, frame.img_shape):
            raise ValueError(
                f'Frame {frame.frame_id} of video {self.video_id} ({frame.path}) is '
                f'{frame.img_shape} (height, width) after resizing, its video began with '
                f'{self.frame_size}. Start a new state where the resolution changes.'
            )
        self.frame_size = frame.img_shape


def video_generator(seed: int, video_id: int) -> torch.Generator:
    """A CPU generator that depends on nothing but (seed, video id)."""
    words = np.random.SeedSequence([seed, video_id % 2**63]).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


class BaseVideoDetector(BaseModel):
    """A detector of one frame at a time, with or without memory of the video.

    Subclasses implement `loss` and `predict`. Attributes:
        together: frames, also of one video, may be computed in one batch, because none of them
            changes a state that another reads.
        keeps_window: the state keeps a window of frames (`test_with_fix_stride`), which is what
            causal testing uses; others remember in ways of their own.
    """

    together = False
    keeps_window = False

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None) -> None:
        # built by our registry: mmengine's knows ours only once a default scope is set
        if data_preprocessor is not None:
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)

    def forward(self, batches: list[ClipBatch], mode: str = 'loss') -> dict[str, Tensor]:
        """Mean over clips of each clip's losses (the entry point of training)."""
        if mode != 'loss':
            raise ValueError(f'mode {mode!r}: only "loss" goes through forward, testing uses step.')
        num_clips = sum(len(batch) for batch in batches)
        total: dict[str, Tensor] = {}
        for batch in batches:
            for name, value in self.loss(batch).items():
                total[name] = total.get(name, 0.0) + value * (len(batch) / num_clips)
        return total

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Named scalars; those with "loss" in the name are summed and minimised."""
        raise NotImplementedError

    def predict(self, batch: ClipBatch, states: list[VideoState]) -> list[Detections]:
        """Detections of each clip's key frame; updates the states in place."""
        raise NotImplementedError

    def make_state(self, **common: Any) -> VideoState:
        """The model's own kind of state."""
        return VideoState(**common)

    def init_state(self, video_id: int = 0, seed: int = 0) -> VideoState:
        """A fresh state for one video."""
        return self.make_state(video_id=video_id, generator=video_generator(seed, video_id))

    def step(self, clip: Clip, state: VideoState) -> tuple[Detections, VideoState]:
        """Detect on the key frame of `clip`. The first clip of a video carries its references."""
        return self.step_batch([clip], [state])[0], state

    def step_batch(self, clips: list[Clip], states: list[VideoState]) -> list[Detections]:
        """`step` for several clips; `states[i]` belongs to `clips[i]` and is updated in place.

        A state may appear several times; its clips are then taken in order.
        """
        if self.training:
            raise RuntimeError('The model is in training mode. Call model.eval() before step().')
        with torch.inference_mode():
            if self.together:
                found = self._step_together(clips, states)
            else:
                found = [self._step_one(c, s) for c, s in zip(clips, states, strict=True)]
        return [d.clone() for d in found]  # tensors made in inference mode cannot be written to

    def _step_together(self, clips: list[Clip], states: list[VideoState]) -> list[Detections]:
        state_of = {id(clip): state for clip, state in zip(clips, states, strict=True)}
        for clip, state in zip(clips, states, strict=True):
            state.admit(clip, fixed_size=False)
        found: dict[int, Detections] = {}
        batches = self.data_preprocessor(clips)['batches']
        # clips with references first: they are the starts of videos, whose other frames may be here
        for batch in sorted(batches, key=lambda batch: -batch.images.shape[1]):
            detections = self.predict(batch, [state_of[id(clip)] for clip in batch.clips])
            found.update(zip(map(id, batch.clips), detections, strict=True))
        for state in states:
            state.frames_seen += 1
        return [found[id(clip)] for clip in clips]

    def _step_one(self, clip: Clip, state: VideoState) -> Detections:
        state.admit(clip, fixed_size=True)
        batch = self.data_preprocessor([clip])['batches'][0]
        detections = self.predict(batch, [state])[0]
        state.frames_seen += 1
        return detections
