"""Anchors of the region proposal network."""

import torch
from torch import Tensor

from mmdet.registry import TASK_UTILS

MAX_CACHED_SIZES = 16


@TASK_UTILS.register_module()
class AnchorGenerator:
    """Anchors centred on the top-left corner of their cell, one set of shapes per level.

    A cell's anchors are ordered ratio first, scale second; a level's anchors are ordered row,
    column, shape. Sizes are `stride * scale`; a ratio is height over width.

    Args:
        strides: pixels between cells, per level.
        ratios: heights over widths, the area kept.
        scales: sides of the square anchor in strides.
    """

    def __init__(self, strides: list[int], ratios: list[float], scales: list[float]) -> None:
        self.strides = list(strides)
        self.base_anchors = [self._base_anchors(stride, ratios, scales) for stride in self.strides]
        self._cache: dict = {}

    @property
    def num_levels(self) -> int:
        return len(self.strides)

    @property
    def num_base_anchors(self) -> int:
        """Anchors per cell."""
        return len(self.base_anchors[0])

    @staticmethod
    def _base_anchors(stride: int, ratios: list[float], scales: list[float]) -> Tensor:
        h_ratios = torch.sqrt(torch.tensor(ratios, dtype=torch.float32))
        scales_t = torch.tensor(scales, dtype=torch.float32)
        ws = (stride * (1 / h_ratios)[:, None] * scales_t).flatten()
        hs = (stride * h_ratios[:, None] * scales_t).flatten()
        return torch.stack([-0.5 * ws, -0.5 * hs, 0.5 * ws, 0.5 * hs], dim=1)

    def grid_anchors(self, sizes: list[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Anchors of maps of the given (height, width), per level [H * W * A, 4]."""
        key = (tuple(map(tuple, sizes)), str(device))
        if key not in self._cache:
            if len(self._cache) >= MAX_CACHED_SIZES:  # videos of many sizes must not pile up
                self._cache.pop(next(iter(self._cache)))
            self._cache[key] = [
                self._level(base.to(device), stride, size)
                for base, stride, size in zip(self.base_anchors, self.strides, sizes, strict=True)
            ]
        return self._cache[key]

    @staticmethod
    def _level(base: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
        ys = torch.arange(size[0], device=base.device, dtype=torch.float32) * stride
        xs = torch.arange(size[1], device=base.device, dtype=torch.float32) * stride
        shift_y, shift_x = torch.meshgrid(ys, xs, indexing='ij')
        shifts = torch.stack([shift_x, shift_y, shift_x, shift_y], dim=-1).reshape(-1, 1, 4)
        return (shifts + base).reshape(-1, 4)
