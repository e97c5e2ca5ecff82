"""Regions of frames, as relations take them.

Shapes: B frames or videos, W frames of a window, R regions of a frame, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Regions:
    """Rows [..., C], boxes [..., 4] in pixels of the resized image, and which of them exist."""

    rows: Tensor
    boxes: Tensor
    valid: Tensor

    def best(self, number: int) -> 'Regions':
        """The first `number` regions of every frame."""
        rows, boxes = self.rows[..., :number, :], self.boxes[..., :number, :]
        return Regions(rows, boxes, self.valid[..., :number])

    def flat(self) -> 'Regions':
        """The frames [B, W, R, ...] of a window side by side: [B, W * R, ...]."""
        return Regions(*(x.flatten(1, 2) for x in (self.rows, self.boxes, self.valid)))

    def detached(self) -> 'Regions':
        """Without the gradient of the rows."""
        return Regions(self.rows.detach(), self.boxes, self.valid)

    def with_rows(self, rows: Tensor) -> 'Regions':
        """Other rows of the same regions."""
        return Regions(rows.reshape(*self.valid.shape, -1), self.boxes, self.valid)


def beside(first: Regions, second: Regions) -> Regions:
    """[B, N, ...] and [B, M, ...] as [B, N + M, ...]."""
    return Regions(
        torch.cat([first.rows, second.rows], 1),
        torch.cat([first.boxes, second.boxes], 1),
        torch.cat([first.valid, second.valid], 1),
    )
