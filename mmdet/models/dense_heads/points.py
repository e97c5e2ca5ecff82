"""Where the cells of a map lie in the image; centres are at half a cell."""

from collections.abc import Sequence

import torch
from torch import Tensor


def level_points(feats: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
    """`grid_points` of every map."""
    return [grid_points(x.shape[-2:], s, x.device) for x, s in zip(feats, strides, strict=True)]


def grid_points(size: tuple[int, int], stride: int, device: torch.device) -> Tensor:
    """Centres (x, y) of the cells of a map of (height, width), row by row, [H * W, 2] in pixels."""
    cells = torch.arange(size[0] * size[1], device=device)
    return cell_centres(cells, size[1], stride)


def cell_centres(cells: Tensor, width: int, stride: int) -> Tensor:
    """Centres [..., 2] (x, y) in pixels of cells [...], numbered row by row in a map of `width`."""
    x, y = cells % width, torch.div(cells, width, rounding_mode='floor')
    return (torch.stack([x, y], dim=-1) + 0.5) * stride
