"""Anchors of the region proposal network."""

import torch
from torch import Tensor, nn

from mmdet.models.static import keep_alive
from mmdet.registry import TASK_UTILS

MAX_CACHED_SIZES = 16


@TASK_UTILS.register_module()
class AnchorGenerator(nn.Module):
    """Anchors centred on the top-left corner of their cell, one set of shapes per level.

    A cell's anchors are ordered ratio first, scale second; a level's anchors are ordered row,
    column, shape. Sizes are `stride * scale`; a ratio is height over width.

    Args:
        strides: pixels between cells, per level.
        ratios: heights over widths, the area kept.
        scales: sides of the square anchor in strides.
        legacy: anchors as Detectron had them: whole pixels, centred in their cell, the last
            pixel included (a side is x2 - x1 + 1).
    """

    def __init__(
        self,
        strides: list[int],
        ratios: list[float],
        scales: list[float],
        legacy: bool = False,
    ) -> None:
        super().__init__()
        self.strides = list(strides)
        shapes = _pixel_anchors if legacy else self._base_anchors
        for i, stride in enumerate(self.strides):
            base = shapes(stride, ratios, scales)
            self.register_buffer(f'base_anchors_{i}', base, persistent=False)
        self._cache: dict[tuple, list[Tensor]] = {}

    @property
    def base_anchors(self) -> list[Tensor]:
        """Per level [A, 4], around the origin."""
        return [getattr(self, f'base_anchors_{i}') for i in range(len(self.strides))]

    @staticmethod
    def _base_anchors(stride: int, ratios: list[float], scales: list[float]) -> Tensor:
        h_ratios = torch.sqrt(torch.tensor(ratios, dtype=torch.float32))
        scales_t = torch.tensor(scales, dtype=torch.float32)
        ws = (stride * (1 / h_ratios)[:, None] * scales_t).flatten()
        hs = (stride * h_ratios[:, None] * scales_t).flatten()
        return torch.stack([-0.5 * ws, -0.5 * hs, 0.5 * ws, 0.5 * hs], dim=1)

    def grid_anchors(self, sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Anchors of maps of the given (height, width), per level [H * W * A, 4] float32."""
        key = (tuple(map(tuple, sizes)), self.base_anchors[0].device)
        anchors = self._cache.get(key)
        if anchors is None:
            with torch.inference_mode(False):  # made in testing, they may serve training later
                levels = zip(self.base_anchors, self.strides, sizes, strict=True)
                anchors = [self._level(*level) for level in levels]
            cached = list(self._cache)  # a copy: another thread may be here, too
            for old in cached[: max(len(cached) + 1 - MAX_CACHED_SIZES, 0)]:
                self._cache.pop(old, None)
            self._cache[key] = anchors
        return keep_alive(anchors)

    @staticmethod
    def _level(base: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
        ys = torch.arange(size[0], device=base.device, dtype=torch.float32) * stride
        xs = torch.arange(size[1], device=base.device, dtype=torch.float32) * stride
        shift_y, shift_x = torch.meshgrid(ys, xs, indexing='ij')
        shifts = torch.stack([shift_x, shift_y, shift_x, shift_y], dim=-1).reshape(-1, 1, 4)
        return (shifts + base.float()).reshape(-1, 4)


def _pixel_anchors(stride: int, ratios: list[float], scales: list[float]) -> Tensor:
    """The anchors of the first cell; sides are rounded at the scale 1, half to even."""
    ratios_t = torch.tensor(ratios, dtype=torch.float64)
    scales_t = torch.tensor(scales, dtype=torch.float64)
    ws = (stride / ratios_t.sqrt()).round()
    hs = (ws * ratios_t).round()
    sides = torch.stack([ws, hs], dim=1)[:, None] * scales_t[:, None]
    reach = (sides.reshape(-1, 2) - 1) / 2
    centre = (stride - 1) / 2
    return torch.cat([centre - reach, centre + reach], dim=1).float()
