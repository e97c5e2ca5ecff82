"""Which proposals a training step learns from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.task_modules.assigner import BACKGROUND
from mmdet.registry import TASK_UTILS


@dataclass
class Samples:
    """Sampled boxes of one image, positives first."""

    boxes: Tensor  # [P + Q, 4]
    pos_gt: Tensor  # [P] int64, the ground truth of each positive
    num_pos: int

    def __len__(self) -> int:
        return len(self.boxes)


@TASK_UTILS.register_module()
class RandomSampler:
    """A random subset with a bounded share of positives, drawn from torch's global CPU generator.

    Args:
        num: boxes per image.
        pos_fraction: positives are at most this share of `num`; negatives fill the rest.
        neg_pos_ub: at most this many negatives per positive; -1 for no bound.
        add_gt_as_proposals: ground-truth boxes are candidates too, ahead of the proposals.
    """

    def __init__(
        self,
        num: int,
        pos_fraction: float,
        neg_pos_ub: float = -1,
        add_gt_as_proposals: bool = True,
    ) -> None:
        self.num = num
        self.num_pos = int(num * pos_fraction)
        self.neg_pos_ub = neg_pos_ub
        self.add_gt_as_proposals = add_gt_as_proposals

    def choose(self, assigned: Tensor) -> tuple[Tensor, Tensor]:
        """Ascending indices of the chosen positives and negatives."""
        pos = self._subset((assigned > BACKGROUND).nonzero().flatten(), self.num_pos)
        limit = self.num - len(pos)
        if self.neg_pos_ub >= 0:
            limit = min(limit, int(self.neg_pos_ub * max(1, len(pos))))
        neg = self._subset((assigned == BACKGROUND).nonzero().flatten(), limit)
        return pos, neg

    def sample(self, boxes: Tensor, assigned: Tensor, gt_boxes: Tensor) -> Samples:
        """Sampled boxes of one image, see `Samples`."""
        if self.add_gt_as_proposals and len(gt_boxes):
            boxes = torch.cat([gt_boxes, boxes])
            own = torch.arange(1, len(gt_boxes) + 1, device=assigned.device)
            assigned = torch.cat([own, assigned])
        pos, neg = self.choose(assigned)
        return Samples(boxes[torch.cat([pos, neg])], assigned[pos] - 1, len(pos))

    @staticmethod
    def _subset(candidates: Tensor, limit: int) -> Tensor:
        if len(candidates) <= limit:
            return candidates
        chosen = torch.randperm(len(candidates))[:limit].to(candidates.device)
        return candidates[chosen].sort().values
