"""Boxes as Detectron had them, which include their last pixel."""

import torch
from torch import Tensor


def with_last_pixel(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] from pixel to pixel, as boxes that end where the last pixel ends.

    Their areas and overlaps are then those that Detectron computed with `x2 - x1 + 1`.
    """
    return torch.cat([boxes[..., :2], boxes[..., 2:] + 1], dim=-1)
