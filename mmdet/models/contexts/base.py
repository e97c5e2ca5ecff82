"""What the contexts of the region head share.

Shapes: B frames, P proposals of a frame, F width of the region head's layers, M references.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet.models.batch import ClipBatch
from mmdet.models.dense_heads.rpn_head import Proposals
from mmdet.models.roi_heads.bbox_head import Keys
from mmdet.structures import Clip


@dataclass
class FrameRegions:
    """Frames as the region head sees them: proposals and first-layer features [B, P, F] before
    the ReLU."""

    proposals: Proposals
    roi_feats: Tensor

    def __len__(self) -> int:
        return len(self.roi_feats)

    def __getitem__(self, index: Any) -> 'FrameRegions':
        """Some of the frames: a slice or int64 numbers."""
        return FrameRegions.of(*(x[index] for x in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.proposals.boxes, self.proposals.scores, self.proposals.valid, self.roi_feats)

    def copy(self) -> 'FrameRegions':
        """With tensors of its own."""
        return FrameRegions.of(*(x.clone() for x in self.tensors()))

    def take(self, batch: ClipBatch, frames: list[int]) -> 'FrameRegions':
        """Some of the frames, as `ClipBatch.take` does it."""
        return FrameRegions.of(*(batch.take(x, frames) for x in self.tensors()))

    @classmethod
    def of(cls, boxes: Tensor, scores: Tensor, valid: Tensor, roi_feats: Tensor) -> 'FrameRegions':
        """The inverse of `tensors`."""
        return cls(Proposals(boxes, scores, valid), roi_feats)

    @classmethod
    def cat(cls, parts: list['FrameRegions']) -> 'FrameRegions':
        return cls.of(*map(torch.cat, zip(*(p.tensors() for p in parts), strict=True)))


class RegionContext:
    """What the regions of a frame see of other frames.

    Training: `keys_of_refs`. Testing, for every video: `begin` with its references and first frame,
    then per frame `read`, `keys` and `written` inside the part of fixed shapes, `write`.

    Attributes:
        roles: frames of a clip that are references.
        sequential: what a frame reads depends on what was found on the one before it.
    """

    roles: tuple[str, ...] = ('ref', 'window')
    sequential = False

    def init_state(self, generator: torch.Generator) -> Any:
        """The state of a new video."""
        raise NotImplementedError

    def keys_of_refs(self, refs: FrameRegions, refs_per_clip: int) -> Keys:
        """Training: the references of B clips, all of one clip after the other, as keys."""
        raise NotImplementedError

    def begin(self, state: Any, refs: FrameRegions | None, key: FrameRegions) -> None:
        """Take the references of a video (if it has any) and its first frame."""
        raise NotImplementedError

    def slides(self, clip: Clip, state: Any) -> bool:
        """Whether the clip moves a window of this context: `slide` comes before `read` then."""
        return False

    def places(self, clip: Clip) -> list[int]:
        """The frames of a clip that are computed with the others of a batch: those that enter a
        window, or the key frame."""
        return [0]

    def slide(self, state: Any, clip: Clip, new: FrameRegions | None) -> FrameRegions:
        """Move the window to the key frame of a clip; the regions of that frame.

        Args:
            new: the frames of `places` in their order; None where there are none.
        """
        raise NotImplementedError

    def read(self, state: Any) -> tuple[Tensor, ...] | None:
        """What the next frame sees of its video: keys [M, K] per layer, then which of them exist
        [M]; None for nothing."""
        raise NotImplementedError

    def read_all(self, states: list[Any]) -> tuple[Tensor, ...]:
        """What a frame of each video sees, as one batch: keys [B, M, K] per layer, then which of
        them exist [B, M]; () for nothing."""
        return stack_keys([self.read(state) for state in states])

    def keys(self, key: FrameRegions, read: tuple[Tensor, ...]) -> Keys:
        """Inside the static part: keys from what was read, a batch of `read`, () for nothing, and
        from the frames themselves."""
        raise NotImplementedError

    def written(self, key: FrameRegions, layers: list[Tensor]) -> tuple[Tensor, ...]:
        """Inside the static part: what `write` gets, of the layers' enhanced features [B, P, F]."""
        return ()

    def write(self, states: list[Any], written: tuple[Tensor, ...]) -> None:
        """Change the states after a frame of each."""


def stack_keys(keys: list[tuple[Tensor, ...] | None]) -> tuple[Tensor, ...]:
    """What B frames read, one batch of it: each filled up to the largest M; () for nothing."""
    known = [k for k in keys if k is not None]
    if not known:
        return ()
    if len(keys) == 1:  # without a copy
        return tuple(x[None] for x in known[0])
    most = max(len(k[-1]) for k in known)
    filled = []
    for k in keys:
        if k is None:  # a video without references beside one that has some
            k = tuple(torch.zeros_like(x) for x in known[0])
        missing = most - len(k[-1])
        pad = (*(F.pad(x, (0, 0, 0, missing)) for x in k[:-1]), F.pad(k[-1], (0, missing)))
        filled.append(pad if missing else k)
    return tuple(torch.stack(tensors) for tensors in zip(*filled, strict=True))
