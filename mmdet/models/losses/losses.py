"""The two losses of a two-stage detector. Both return a weighted sum; the caller's weights average.

Losses are float32 whatever the dtype of the predictions.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.registry import MODELS


@MODELS.register_module()
class CrossEntropyLoss(nn.Module):
    """Softmax cross entropy over the last axis; with `use_sigmoid`, binary, one logit per row."""

    def __init__(self, use_sigmoid: bool = False, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.use_sigmoid = use_sigmoid
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """`pred` [N] or [N, C], `target` [N] (0/1 or class index), `weight` [N] -> scalar."""
        pred = pred.float()
        if self.use_sigmoid:
            loss = F.binary_cross_entropy_with_logits(pred, target.float(), reduction='none')
        else:
            loss = F.cross_entropy(pred, target, reduction='none')
        return self.loss_weight * (loss * weight).sum()


@MODELS.register_module()
class SmoothL1Loss(nn.Module):
    """`0.5 d^2 / beta` for `|d| < beta`, else `|d| - 0.5 beta` (Fast R-CNN, equation 3)."""

    def __init__(self, beta: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.beta = beta
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """`pred` and `target` [N, 4], `weight` [N] -> scalar."""
        loss = F.smooth_l1_loss(pred.float(), target.float(), reduction='none', beta=self.beta)
        return self.loss_weight * (loss * weight[:, None]).sum()
