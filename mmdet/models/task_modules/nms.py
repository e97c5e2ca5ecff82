"""Non-maximum suppression of whole batches, in shapes that do not depend on what is found.

Shapes: B images, N candidate boxes of an image, M boxes to keep at most.
"""

import torch
from torch import Tensor
from torchvision.ops import nms

from mmdet.models.task_modules import nms_kernel
from mmdet.models.task_modules.assigner import with_last_pixel

FIRST_PREFIX = 1000  # boxes that are looked at first; four times as many where these give too few


def sorted_nms(
    boxes: Tensor, valid: Tensor, iou_threshold: float, max_keep: int
) -> tuple[Tensor, Tensor]:
    """Greedy suppression of boxes that come best first: indices [B, M] and which are used [B, M].

    A box is dropped when its IoU with a better one that is kept is strictly above the threshold.
    What is kept of the best boxes does not depend on the others, so only as many are looked at as
    are needed for M. On a GPU nothing here waits for the host, where Triton works.

    Args:
        boxes: [B, N, 4] float32, best first. valid: [B, N], whether they exist. max_keep: M.
    """
    if nms_kernel.usable(boxes.device):
        return nms_kernel.greedy_nms(boxes, valid, iou_threshold, max_keep)
    indices = boxes.new_zeros(len(boxes), max_keep, dtype=torch.long)
    used = torch.zeros_like(indices, dtype=torch.bool)
    for i in range(len(boxes)):
        existing = valid[i].nonzero().flatten()
        kept = existing[_greedy(boxes[i, existing], iou_threshold, max_keep)]
        indices[i, : len(kept)] = kept
        used[i, : len(kept)] = True
    return indices, used


def _greedy(boxes: Tensor, iou_threshold: float, max_keep: int) -> Tensor:
    """Positions of the kept boxes of one image [n, 4], best first."""
    rank = -torch.arange(len(boxes), dtype=boxes.dtype, device=boxes.device)
    size = FIRST_PREFIX
    while True:
        kept = nms(boxes[:size], rank[:size], iou_threshold)
        if len(kept) >= max_keep or size >= len(boxes):
            return kept[:max_keep]
        size *= 4


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    iou_threshold: float,
    max_keep: int,
    legacy: bool = False,
) -> tuple[Tensor, Tensor]:
    """`sorted_nms` of boxes in any order, where only boxes of one group suppress each other;
    indices are into N, best score first.

    Groups (classes, pyramid levels) are moved apart by an offset that is added in float32, as 1.x
    does: a loop over groups rounds differently, and an IoU next to the threshold can fall on the
    other side. Equal scores keep their order.

    Args:
        boxes: [B, N, 4]. scores, valid, groups (int64): [B, N].
        legacy: boxes include their last pixel, see `DeltaXYWHBBoxCoder`.
    """
    boxes = with_last_pixel(boxes.float()) if legacy else boxes.float()
    order = scores.masked_fill(~valid, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    largest = boxes.masked_fill(~valid[..., None], -torch.inf).amax(dim=(1, 2), keepdim=True)
    moved = boxes + groups.to(boxes.dtype)[..., None] * (largest + 1)
    moved = moved.gather(1, order[..., None].expand(-1, -1, 4))
    indices, used = sorted_nms(moved, valid.gather(1, order), iou_threshold, max_keep)
    return order.gather(1, indices), used
