"""Detections on the device, and their way to the CPU.

Shapes: B frames, N slots of a frame, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.batch import PendingCopy
from mmdet.structures import Detections, Frame


@dataclass
class BatchDetections:
    """Detections of B frames in pixels of their resized images, best first.

    boxes [B, N, 4] float32, scores [B, N], labels [B, N] int64; `valid` [B, N] is False for slots
    that hold nothing; `levels` [B, N] int64 is the pyramid level of a box, in detectors that have
    one.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    valid: Tensor
    levels: Tensor | None = None


class PendingDetections:
    """Results on their way to the CPU: one copy per batch, which nobody waits for until `get`."""

    def __init__(self, detections: BatchDetections, frames: Sequence[Frame]) -> None:
        self.frames = frames
        packed = torch.cat(
            [
                detections.boxes,
                detections.scores[..., None],
                detections.labels[..., None].float(),
                detections.valid[..., None].float(),
            ],
            dim=2,
        )
        self._rows = PendingCopy(packed)

    def get(self) -> list[Detections]:
        """Detections of every frame, in pixels of its original image."""
        rows = self._rows.get()
        return [_of_frame(own, frame) for own, frame in zip(rows, self.frames, strict=True)]


def _of_frame(rows: Tensor, frame: Frame) -> Detections:
    rows = rows[rows[:, 6] > 0]
    return Detections(
        boxes=rows[:, :4] / torch.tensor(frame.scale_factor * 2, dtype=torch.float32),
        scores=rows[:, 4].clone(),
        labels=rows[:, 5].long(),
        image_id=frame.image_id,
    )
