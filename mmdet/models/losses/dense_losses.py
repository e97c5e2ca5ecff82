"""Losses of detectors without proposals, and what they are divided by. All are float32."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from mmdet.core.errors import ConfigError

NORMALIZERS = ('image', 'batch')


def focal_loss(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss (arXiv 1708.02002) per point and class, [..., C]; the label C (or more) is
    background."""
    classes = torch.arange(logits.shape[-1], device=logits.device)
    target = (labels[..., None] == classes).float()
    return sigmoid_focal_loss(logits.float(), target, alpha, gamma)


def gaussian_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of a heatmap (CornerNet, arXiv 1808.01244, equation 1), element by element; the
    target is 1 in peaks, between 0 and 1 around them, where the loss of being high is reduced."""
    logits = logits.float()
    probability = logits.sigmoid()
    peak = -F.logsigmoid(logits) * (1 - probability) ** 2
    other = -F.logsigmoid(-logits) * probability**2 * (1 - target) ** 4
    return torch.where(target == 1, peak, other)


def iou_loss_of_distances(found: Tensor, wanted: Tensor, positive: Tensor) -> Tensor:
    """-log IoU [...] of two boxes around one point, each four distances [..., 4]; IoU >= 1e-6.
    Where it is not `positive` [...] the loss is 0 and has no gradient."""
    inside = positive[..., None]
    distances = (torch.where(inside, x, 1.0) for x in (found, wanted))
    boxes = (torch.cat([-x[..., :2], x[..., 2:]], dim=-1) for x in distances)
    return -iou_of_pairs(*boxes).clamp(min=1e-6).log() * positive


def iou_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """IoU [...] of boxes [..., 4] one to one; the union is at least 1e-6."""
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    inter = sides.clamp(min=0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return inter / (areas - inter).clamp(min=1e-6)


def divisor(amount: Tensor, least: float, normalizer: str) -> Tensor:
    """What each image's sum is divided by, [B], at least `least`, from each image's `amount` [B];
    `normalizer`: see `FCOSHead`."""
    if normalizer not in NORMALIZERS:
        raise ConfigError(f'normalizer={normalizer!r}: legal are {NORMALIZERS}.')
    amount = amount.float()
    if normalizer == 'batch':
        mean = amount.mean()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(mean)
            mean = mean / dist.get_world_size()
        amount = mean.expand_as(amount)
    return amount.clamp(min=least)
