"""Boxes as offsets from proposals (Fast R-CNN, section 2.3)."""

import math

import torch
from torch import Tensor, nn

from mmdet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class DeltaXYWHBBoxCoder(nn.Module):
    """Centre shifts in units of the proposal's size and log scales of its sides, normalised.

    A module for its two constants, which lie on the model's device; it has no weights.

    Args:
        target_means, target_stds: normalisation of (dx, dy, dw, dh).
        wh_ratio_clip: a side grows or shrinks at most by this factor.
        legacy: boxes as Detectron had them: they include their last pixel, so a side is
            x2 - x1 + 1 and the last pixel of an image of width w is w - 1; sides may shrink freely.
    """

    def __init__(
        self,
        target_means: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
        target_stds: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
        wh_ratio_clip: float = 16 / 1000,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer('means', torch.tensor(target_means), persistent=False)
        self.register_buffer('stds', torch.tensor(target_stds), persistent=False)
        self.max_log_ratio = abs(math.log(wh_ratio_clip))
        self.min_log_ratio = -math.inf if legacy else -self.max_log_ratio
        self.last_pixel = 1 if legacy else 0

    def encode(self, proposals: Tensor, targets: Tensor) -> Tensor:
        """Offsets [..., 4] that turn `proposals` [..., 4] into `targets` [..., 4]."""
        centre, size = self._centre_size(proposals)
        target_centre, target_size = self._centre_size(targets)
        deltas = torch.cat([(target_centre - centre) / size, torch.log(target_size / size)], dim=-1)
        return (deltas - self.means.to(deltas)) / self.stds.to(deltas)

    def decode(self, proposals: Tensor, deltas: Tensor, img_shapes: Tensor) -> Tensor:
        """Boxes [B, N, K, 4] from `proposals` [B, N, 4] and `deltas` [B, N, K * 4].

        Args:
            img_shapes: [B, 2] (height, width) to which boxes are clipped.
        """
        deltas = deltas.unflatten(-1, (-1, 4)) * self.stds.to(deltas) + self.means.to(deltas)
        centre, size = self._centre_size(proposals[..., None, :])
        log_ratio = deltas[..., 2:].clamp(self.min_log_ratio, self.max_log_ratio)
        centre = centre + size * deltas[..., :2]
        half = 0.5 * size * log_ratio.exp()
        boxes = torch.cat([centre - half, centre + half - self.last_pixel], dim=-1).clamp(min=0)
        # width, height, width, height
        limit = img_shapes.to(boxes).flip(-1).repeat(1, 2) - self.last_pixel
        return torch.minimum(boxes, limit[:, None, None])

    def _centre_size(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        low, high = boxes[..., :2], boxes[..., 2:] + self.last_pixel
        return (low + high) * 0.5, high - low
