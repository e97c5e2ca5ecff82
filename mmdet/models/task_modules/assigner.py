"""Which ground-truth box, if any, a proposal stands for."""

import torch
from torch import Tensor

from mmdet.registry import TASK_UTILS

IGNORED, BACKGROUND = -1, 0


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU [N, K] of boxes [N, 4] and [K, 4]; the union is at least 1e-6, so empty boxes give 0."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(dim=2)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return inter / (area_a[:, None] + area_b[None] - inter).clamp(min=1e-6)


@TASK_UTILS.register_module()
class MaxIoUAssigner:
    """A box belongs to the ground truth it overlaps most (Faster R-CNN, section 3.1.2).

    Args:
        pos_iou_thr: at least this IoU makes a positive.
        neg_iou_thr: below this IoU a box is background; in between it is ignored.
        min_pos_iou: lowest IoU at which `match_low_quality` acts.
        match_low_quality: every ground truth also takes the boxes that overlap it most,
            even from another ground truth; later ground truths win.
        ignore_iof_thr: accepted for 1.x configs; only -1, "no ignore regions", is implemented.
    """

    def __init__(
        self,
        pos_iou_thr: float,
        neg_iou_thr: float,
        min_pos_iou: float = 0.0,
        match_low_quality: bool = True,
        ignore_iof_thr: float = -1,
    ) -> None:
        if ignore_iof_thr != -1:
            raise ValueError(f'ignore_iof_thr={ignore_iof_thr}: only -1 (off) is supported.')
        self.pos_iou_thr = pos_iou_thr
        self.neg_iou_thr = neg_iou_thr
        self.min_pos_iou = min_pos_iou
        self.match_low_quality = match_low_quality

    def assign(self, boxes: Tensor, gt_boxes: Tensor) -> Tensor:
        """For each of `boxes` [N, 4]: -1 ignored, 0 background, k + 1 for ground truth k."""
        assigned = boxes.new_full((len(boxes),), IGNORED, dtype=torch.long)
        if len(gt_boxes) == 0 or len(boxes) == 0:
            return assigned.fill_(BACKGROUND)
        ious = box_iou(boxes, gt_boxes)
        best, best_gt = ious.max(dim=1)
        assigned[best < self.neg_iou_thr] = BACKGROUND
        positive = best >= self.pos_iou_thr
        assigned[positive] = best_gt[positive] + 1
        if self.match_low_quality:
            for k, highest in enumerate(ious.max(dim=0).values):
                if highest >= self.min_pos_iou:
                    assigned[ious[:, k] == highest] = k + 1
        return assigned
