"""Boxes as offsets from proposals (Fast R-CNN, section 2.3)."""

import math

import torch
from torch import Tensor

from mmdet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class DeltaXYWHBBoxCoder:
    """Centre shifts in units of the proposal's size and log scales of its sides, normalised.

    Args:
        target_means, target_stds: normalisation of (dx, dy, dw, dh).
        wh_ratio_clip: a side grows or shrinks at most by this factor.
    """

    def __init__(
        self,
        target_means: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
        target_stds: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
        wh_ratio_clip: float = 16 / 1000,
    ) -> None:
        self.means = tuple(target_means)
        self.stds = tuple(target_stds)
        self.max_log_ratio = abs(math.log(wh_ratio_clip))

    def encode(self, proposals: Tensor, targets: Tensor) -> Tensor:
        """Offsets [N, 4] that turn `proposals` [N, 4] into `targets` [N, 4]."""
        centre, size = _centre_size(proposals)
        target_centre, target_size = _centre_size(targets)
        deltas = torch.cat([(target_centre - centre) / size, torch.log(target_size / size)], dim=1)
        return (deltas - deltas.new_tensor(self.means)) / deltas.new_tensor(self.stds)

    def decode(self, proposals: Tensor, deltas: Tensor, max_shape: tuple[int, int]) -> Tensor:
        """Boxes [N, K, 4] from `proposals` [N, 4] and `deltas` [N, K * 4], clipped to (h, w)."""
        deltas = deltas.reshape(len(proposals), deltas.shape[1] // 4, 4)
        deltas = deltas * deltas.new_tensor(self.stds) + deltas.new_tensor(self.means)
        centre, size = _centre_size(proposals[:, None])
        log_ratio = deltas[..., 2:].clamp(-self.max_log_ratio, self.max_log_ratio)
        centre = centre + size * deltas[..., :2]
        half = 0.5 * size * log_ratio.exp()
        boxes = torch.cat([centre - half, centre + half], dim=-1)
        height, width = max_shape
        boxes[..., 0::2] = boxes[..., 0::2].clamp(0, width)
        boxes[..., 1::2] = boxes[..., 1::2].clamp(0, height)
        return boxes


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) * 0.5, high - low
