"""Which points of YOLOX learn which object: SimOTA (arXiv 2107.08430, section 2.1).

Shapes: B images, P points, K objects (padded), C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.batch import GroundTruth
from mmdet.models.task_modules.assigner import box_iou
from mmdet.registry import TASK_UTILS

LEAST_LOG = -100.0  # a logarithm below is this, as in torch's binary cross entropy
OUTSIDE = 1e5  # cost of a point that is not both in the object and near its centre
NEVER = 1e12  # cost of a pair that cannot be
IOU_WEIGHT = 3.0


@dataclass
class Assignment:
    """positive [B, P]; of positives the object's index and the IoU with it, [B, P]; else 0."""

    positive: Tensor
    objects: Tensor
    ious: Tensor


@TASK_UTILS.register_module()
class SimOTAAssigner:
    """Every object takes the cheapest points: as many as its `candidate_topk` best IoUs add up to.

    Args:
        center_radius: in strides, half the side of the square around an object's centre.
        candidate_topk: see above; also the most that an object takes.
    """

    def __init__(self, center_radius: float = 2.5, candidate_topk: int = 10) -> None:
        self.center_radius = center_radius
        self.candidate_topk = candidate_topk

    @torch.no_grad()
    def assign(
        self, scores: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, gt: GroundTruth
    ) -> Assignment:
        """
        Args:
            scores: [B, P, C] class probability times objectness. boxes: [B, P, 4] decoded.
            points: [P, 2] centres of the cells. strides: [P].
        """
        in_box, near = self._places(points, strides, gt)
        usable = (in_box | near).any(-1, keepdim=True) & gt.valid[:, None]  # [B, P, K]
        ious = box_iou(boxes, gt.boxes) * usable
        cost = class_cost(scores, gt.labels) + IOU_WEIGHT * -torch.log(ious + 1e-7)
        cost = torch.where(usable, cost + OUTSIDE * ~(in_box & near), NEVER)
        return _conclude(self._cheapest(cost, ious), cost, ious)

    def _places(self, points: Tensor, strides: Tensor, gt: GroundTruth) -> tuple[Tensor, Tensor]:
        """Whether a point is in an object, and in the square around its centre; [B, P, K] each."""
        boxes, xy = gt.boxes[:, None], points[None, :, None]
        in_box = ((xy > boxes[..., :2]) & (xy < boxes[..., 2:])).all(-1)
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        radius = (self.center_radius * strides)[None, :, None, None]
        near = ((xy - centre).abs() < radius).all(-1)
        return in_box & gt.valid[:, None], near & gt.valid[:, None]

    def _cheapest(self, cost: Tensor, ious: Tensor) -> Tensor:
        """Pairs that the objects ask for, bool [B, P, K]."""
        most = min(self.candidate_topk, cost.shape[1])
        wanted = ious.topk(most, dim=1).values.sum(1).int().clamp(min=1)  # [B, K]
        cheapest, points = cost.topk(most, dim=1, largest=False)
        rank = torch.arange(most, device=cost.device)[:, None]
        taken = (rank < wanted[:, None]) & (cheapest < NEVER)
        return torch.zeros_like(cost, dtype=torch.bool).scatter(1, points, taken)


def class_cost(scores: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of sqrt(scores) [B, P, C] with each object's class [B, K], summed over
    the classes, [B, P, K]."""
    root = scores.float().sqrt()
    yes, no = root.log().clamp(min=LEAST_LOG), (1 - root).log().clamp(min=LEAST_LOG)
    classes = labels[:, None].expand(-1, scores.shape[1], -1)
    return no.gather(2, classes) - yes.gather(2, classes) - no.sum(-1, keepdim=True)


def _conclude(asked: Tensor, cost: Tensor, ious: Tensor) -> Assignment:
    """A point that several objects ask for goes to the one that it costs least, of all objects."""
    numbers = torch.arange(cost.shape[-1], device=cost.device)
    cheapest = cost.argmin(-1, keepdim=True) == numbers
    several = asked.sum(-1, keepdim=True) > 1
    matched = torch.where(several, cheapest, asked)
    return Assignment(matched.any(-1), matched.int().argmax(-1), (ious * matched).sum(-1))
