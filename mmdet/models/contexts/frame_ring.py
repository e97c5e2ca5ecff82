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
        self._held: Regions | None = None

    def put(self, number: int, frame: Regions) -> None:
        """The best R regions of a frame [R', ...], in the precision of the first frame."""
        self.reserve(frame)
        count, slot = min(self.regions, len(frame.valid), len(frame.roi_feats)), self.get(number)
        slot.roi_feats[:count] = frame.roi_feats[:count]
        slot.boxes[:count] = frame.boxes[:count]
        slot.valid.fill_(False)
        slot.valid[:count] = frame.valid[:count]

    def drop(self, number: int) -> None:
        """The frame does not exist: its slot, with what was in it before, is not valid."""
        if self._held is not None:
            self.get(number).valid.fill_(False)

    def get(self, number: int) -> Regions:
        """The regions [R, ...] in the slot of a frame; they change with it."""
        return Regions(*(x[self.slot(number)] for x in self.tensors()))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features [S, R, C], boxes [S, R, 4] and which exist [S, R]; they change with puts."""
        return self._held.tensors()

    def slot(self, number: int) -> int:
        return number % self.slots

    def reserve(self, frame: Regions) -> None:
        """Make room for frames like this one, once."""
        if self._held is None:
            shape, feats = (self.slots, self.regions), frame.roi_feats
            valid = torch.zeros(shape, dtype=torch.bool, device=feats.device)
            feats = feats.new_zeros(*shape, feats.shape[1])
            self._held = Regions(feats, frame.boxes.new_zeros(*shape, 4), valid)
