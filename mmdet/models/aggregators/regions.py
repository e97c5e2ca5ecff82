"""Regions of frames, as relations take them.

Shapes: B frames or videos, W frames of a window, R regions of a frame, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Regions:
    """Features [..., C], boxes [..., 4] in pixels of the resized image, and which of them exist."""

    roi_feats: Tensor
    boxes: Tensor
    valid: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.roi_feats, self.boxes, self.valid

    def best(self, number: int) -> 'Regions':
        """The first `number` regions of every frame."""
        feats, boxes = (x[..., :number, :] for x in (self.roi_feats, self.boxes))
        return Regions(feats, boxes, self.valid[..., :number])

    def flat(self) -> 'Regions':
        """The frames [B, W, R, ...] of a window side by side: [B, W * R, ...]."""
        return Regions(*(x.flatten(1, 2) for x in self.tensors()))

    def detached(self) -> 'Regions':
        return Regions(self.roi_feats.detach(), self.boxes, self.valid)

    def with_feats(self, roi_feats: Tensor) -> 'Regions':
        """Other features of the same regions."""
        return Regions(roi_feats.reshape(*self.valid.shape, -1), self.boxes, self.valid)


def beside(first: Regions, second: Regions) -> Regions:
    """[B, N, ...] and [B, M, ...] as [B, N + M, ...]."""
    pairs = zip(first.tensors(), second.tensors(), strict=True)
    return Regions(*(torch.cat(pair, 1) for pair in pairs))
