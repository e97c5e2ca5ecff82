"""Which boxes a training step learns from.

Shapes: B images, N candidates of an image, S boxes that are sampled of it at most.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.task_modules.assigner import BACKGROUND
from mmdet.registry import TASK_UTILS


@dataclass
class Samples:
    """What was chosen of every image: positives first, empty slots last.

    `indices` [B, S] int64 into the candidates; `positive`, `valid` [B, S] bool.
    """

    indices: Tensor
    positive: Tensor
    valid: Tensor


@TASK_UTILS.register_module()
class RandomSampler:
    """A random subset with a bounded share of positives.

    Draws come from the global generator of the device: on a GPU nothing waits for the host.

    Args:
        num: S, boxes per image.
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

    def choose(self, assigned: Tensor) -> Samples:
        """From what `MaxIoUAssigner.assign` says of the candidates [B, N]."""
        size = min(self.num, assigned.shape[1])
        draw = torch.rand(assigned.shape, device=assigned.device)
        pos, is_pos = _random_subset(draw, assigned > BACKGROUND, min(self.num_pos, size))
        neg, is_neg = _random_subset(draw, assigned == BACKGROUND, size)
        num_pos = is_pos.sum(dim=1, keepdim=True)
        limit = self.num - num_pos
        if self.neg_pos_ub >= 0:
            limit = torch.minimum(limit, (self.neg_pos_ub * num_pos.clamp(min=1)).long())
        is_neg = is_neg & (torch.arange(size, device=assigned.device) < limit)
        indices, valid = torch.cat([pos, neg], dim=1), torch.cat([is_pos, is_neg], dim=1)
        # positives, negatives, nothing: so that S slots hold them all
        kind = torch.cat([is_pos * 2, is_neg * 1], dim=1)
        order = kind.sort(dim=1, descending=True, stable=True).indices[:, :size]
        kind = kind.gather(1, order)
        return Samples(indices.gather(1, order), kind == 2, valid.gather(1, order))


def _random_subset(draw: Tensor, candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices [B, count] of candidates in random order, and which of them are candidates."""
    values, indices = draw.masked_fill(~candidates, -1.0).topk(count, dim=1)
    return indices, values >= 0
