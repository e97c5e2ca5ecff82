"""Which ground-truth box, if any, a proposal stands for.

Shapes: B images, N boxes of an image, K ground-truth boxes at most.
"""

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.registry import TASK_UTILS

IGNORED, BACKGROUND = -1, 0


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU [..., N, K] of boxes [..., N, 4] and [..., K, 4]; the union is at least 1e-6, so empty
    boxes give 0."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    inter = (high - low).clamp(min=0).prod(dim=-1)
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return inter / (area_a[..., :, None] + area_b[..., None, :] - inter).clamp(min=1e-6)


def with_last_pixel(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] from pixel to pixel, as boxes that end where the last pixel ends.

    Their areas and overlaps are then those that Detectron computed with `x2 - x1 + 1`.
    """
    return torch.cat([boxes[..., :2], boxes[..., 2:] + 1], dim=-1)


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
        legacy: boxes include their last pixel, see `DeltaXYWHBBoxCoder`.
    """

    def __init__(
        self,
        pos_iou_thr: float,
        neg_iou_thr: float,
        min_pos_iou: float = 0.0,
        match_low_quality: bool = True,
        ignore_iof_thr: float = -1,
        legacy: bool = False,
    ) -> None:
        if ignore_iof_thr != -1:
            raise ConfigError(f'ignore_iof_thr={ignore_iof_thr}: only -1 (off) is supported.')
        self.pos_iou_thr = pos_iou_thr
        self.neg_iou_thr = neg_iou_thr
        self.min_pos_iou = min_pos_iou
        self.match_low_quality = match_low_quality
        self.legacy = legacy

    def assign(self, boxes: Tensor, valid: Tensor, gt_boxes: Tensor, gt_valid: Tensor) -> Tensor:
        """For each box [B, N]: -1 ignored, 0 background, k + 1 for ground truth k.

        Args:
            boxes: [N, 4], the same for all images, or [B, N, 4]. gt_boxes: [B, K, 4].
            valid [B, N], gt_valid [B, K]: which of them exist; the others are ignored.
        """
        if self.legacy:
            boxes, gt_boxes = with_last_pixel(boxes), with_last_pixel(gt_boxes)
        pairs = valid[:, :, None] & gt_valid[:, None]
        ious = box_iou(boxes, gt_boxes).masked_fill(~pairs, -1.0)
        best, best_gt = ious.max(dim=2)
        assigned = torch.where(best < self.neg_iou_thr, BACKGROUND, IGNORED)
        assigned = torch.where(best >= self.pos_iou_thr, best_gt + 1, assigned)
        if self.match_low_quality:
            highest = ious.amax(dim=1, keepdim=True)
            taken = (ious == highest) & (highest >= self.min_pos_iou)
            number = torch.arange(1, gt_boxes.shape[1] + 1, device=boxes.device)
            low_quality = (taken * number).amax(dim=2)
            assigned = torch.where(low_quality > 0, low_quality, assigned)
        return assigned.masked_fill(~valid, IGNORED)
