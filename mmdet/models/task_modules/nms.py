"""Non-maximum suppression over several classes or levels at once."""

import torch
from torch import Tensor
from torchvision.ops import nms


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the kept boxes, best score first; only boxes of one group suppress each other.

    Groups are moved apart by an offset that is added in float32, as 1.x does: a per-group loop
    rounds differently, and an IoU next to the threshold can fall on the other side.

    Args:
        boxes: [N, 4]. scores: [N]. groups: [N] class or level.
        iou_threshold: a box is dropped when its IoU with a better one is strictly above this.
    """
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.long, device=boxes.device)
    boxes, scores = boxes.float(), scores.float()
    offsets = groups.to(boxes) * (boxes.max() + 1)
    return nms(boxes + offsets[:, None], scores, iou_threshold)


def multiclass_nms(
    boxes: Tensor, scores: Tensor, score_thr: float, iou_threshold: float, max_per_img: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Detections of one image: boxes [n, 4], scores [n], labels [n], best score first.

    Args:
        boxes: [N, C, 4], a box per class. scores: [N, C].
        score_thr: a candidate's score must be strictly above it.
        max_per_img: at most so many, over all classes together.
    """
    rows, labels = (scores > score_thr).nonzero(as_tuple=True)
    boxes, scores = boxes[rows, labels], scores[rows, labels]
    keep = batched_nms(boxes, scores, labels, iou_threshold)[:max_per_img]
    return boxes[keep], scores[keep], labels[keep]
