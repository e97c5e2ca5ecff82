"""Regions of the last few frames of a video, in tensors that never grow.

Shapes: S slots, R regions of a frame, C channels.
"""

import torch
from torch import Tensor

from mmdet.models.aggregators.regions import Regions


class FrameRing:
    """One slot per frame; frame n lies in slot n modulo S until frame n + S takes its place.

    Relations do not depend on the order of what they see, so nothing is ever moved. Slots that no
    frame took yet, or whose frame does not exist, are not valid.

    Args:
        slots: S. regions: R, the most that a frame may have.
    """

    def __init__(self, slots: int, regions: int) -> None:
        self.slots, self.regions = slots, regions
        self._rows: Tensor | None = None
        self._boxes: Tensor | None = None
        self._valid: Tensor | None = None

    def put(self, number: int, frame: Regions) -> None:
        """The best R regions of a frame [R', ...]; rows take the precision of the first frame."""
        self.reserve(frame)
        count, slot = min(self.regions, len(frame.valid), len(frame.rows)), self.slot(number)
        self._rows[slot, :count] = frame.rows[:count].to(self._rows.dtype)
        self._boxes[slot, :count] = frame.boxes[:count]
        self._valid[slot].fill_(False)
        self._valid[slot, :count] = frame.valid[:count]

    def drop(self, number: int) -> None:
        """The frame does not exist: its slot, with what was in it before, is not valid."""
        if self._valid is not None:
            self._valid[self.slot(number)].fill_(False)

    def get(self, number: int) -> Regions:
        """The regions [R, ...] in the slot of a frame; they change with it."""
        slot = self.slot(number)
        return Regions(self._rows[slot], self._boxes[slot], self._valid[slot])

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [S, R, C], boxes [S, R, 4] and which of them exist [S, R]; they change with puts."""
        return self._rows, self._boxes, self._valid

    def slot(self, number: int) -> int:
        """Where a frame lies."""
        return number % self.slots

    def reserve(self, frame: Regions) -> None:
        """Make room for frames like this one, once."""
        if self._rows is not None:
            return
        shape = (self.slots, self.regions)
        self._rows = frame.rows.new_zeros(*shape, frame.rows.shape[1])
        self._boxes = frame.boxes.new_zeros(*shape, 4)
        self._valid = torch.zeros(shape, dtype=torch.bool, device=frame.rows.device)
