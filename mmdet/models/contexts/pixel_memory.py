"""MAMBA's pixel level: cells of the backbone map attend to cells of earlier frames.

The released code has the instance level only; choices follow the paper (arXiv 2401.09923,
section 3) and, where it is silent, the authors' later re-implementation.

Shapes: B frames, C channels of the map, h and w its size, n = h * w cells, M remembered cells, D
detections of a frame.
"""

import torch
from torch import Tensor, nn

from mmdet.models.aggregators import MambaAggregator
from mmdet.models.contexts.memory_bank import MemoryBank, read_banks, write_banks
from mmdet.models.detections import BatchDetections
from mmdet.registry import MODELS


@MODELS.register_module()
class PixelMemory(nn.Module):
    """Enhances a map before the neck and chooses the cells worth remembering.

    Args:
        in_channels: C.
        num_attention_blocks: heads of the attention.
        stride: pixels of the resized image per cell.
        memory_cfg: arguments of `MemoryBank`.
        train_cells: random cells of each reference that serve as keys in training. Cells taken
            from reference ground truth would hand the key frame its own objects.
        score_thr: detections above it are remembered: cells whose centre lies inside.
        cells_per_box, cells_per_frame: at most so many cells, drawn at random.
        fallback_cells: cells of largest norm that are remembered when no detection has any.
    """

    def __init__(
        self,
        in_channels: int = 2048,
        num_attention_blocks: int = 16,
        stride: int = 16,
        memory_cfg: dict | None = None,
        train_cells: int = 2000,
        score_thr: float = 0.3,
        cells_per_box: int = 100,
        cells_per_frame: int = 1000,
        fallback_cells: int = 50,
    ) -> None:
        super().__init__()
        self.aggregator = MambaAggregator(in_channels, num_attention_blocks, memory_cfg)
        for module in self.aggregator.children():  # the residual starts close to the plain map
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        self.stride = stride
        self.train_cells = train_cells
        self.score_thr = score_thr
        self.cells_per_box = cells_per_box
        self.cells_per_frame = cells_per_frame
        self.fallback_cells = fallback_cells

    def init_state(self, generator: torch.Generator) -> MemoryBank:
        """An empty bank of cells."""
        return MemoryBank(generator, **self.aggregator.memory_cfg)

    def enhance(self, maps: Tensor, keys: Tensor, valid: Tensor | None = None) -> Tensor:
        """Maps [B, C, h, w] plus what their cells take from `keys` [B, M, 2C]."""
        cells = maps.flatten(2).transpose(1, 2)
        cells = cells + self.aggregator.attend(cells, keys, valid)
        return cells.transpose(1, 2).unflatten(2, maps.shape[2:])

    def train_enhance(self, key_maps: Tensor, ref_maps: Tensor, img_shapes: Tensor) -> Tensor:
        """Maps of the key frames [B, C, h, w], each enhanced by cells of its own references.

        Args:
            ref_maps: [B * R, C, h, w]. img_shapes: [B * R, 2] (height, width) of the references.
        """
        cells = ref_maps.flatten(2).transpose(1, 2)
        inside = self._on_image(img_shapes, ref_maps.shape[2:])
        draw = torch.rand(inside.shape, device=inside.device).masked_fill(~inside, -1)
        draw, chosen = draw.topk(min(self.train_cells, draw.shape[1]), dim=1)
        keys = self.aggregator.project(_gather_rows(cells, chosen))
        shape = (len(key_maps), -1)
        return self.enhance(key_maps, keys.reshape(*shape, keys.shape[2]), (draw >= 0).view(shape))

    def read(self, banks: list[MemoryBank]) -> tuple[Tensor, Tensor]:
        """Keys [B, M, 2C] and which of them exist [B, M]."""
        rows, valid = read_banks(banks)
        return rows[:, 0], valid

    def write(
        self, banks: list[MemoryBank], maps: Tensor, detections: BatchDetections, img_shapes: Tensor
    ) -> None:
        """Remember cells of the maps [B, C, h, w] inside what was detected on their frames."""
        draws = [self._draw(bank, detections, maps) for bank in banks]
        per_box, per_cell = (torch.stack(d) for d in zip(*draws, strict=True))
        chosen, valid = self.choose(detections, maps, img_shapes, per_box, per_cell)
        cells = _gather_rows(maps.flatten(2).transpose(1, 2), chosen)
        keys = self.aggregator.project(cells)
        if len(set(map(id, banks))) == len(banks):
            write_banks(banks, keys[:, None], valid)
            return
        for bank, own, exist in zip(banks, keys, valid, strict=True):  # one video's first frames
            bank.write(own[None], exist)

    def _draw(
        self, bank: MemoryBank, detections: BatchDetections, maps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Random numbers of a video for `choose`: [D, n] and [n]."""
        count = maps.shape[2] * maps.shape[3]
        numbers = torch.rand(detections.scores.shape[1] + 1, count, generator=bank.generator)
        if maps.is_cuda:
            numbers = numbers.pin_memory().to(maps.device, non_blocking=True)
        return numbers[:-1], numbers[-1]

    def choose(
        self,
        detections: BatchDetections,
        maps: Tensor,
        img_shapes: Tensor,
        per_box: Tensor,
        per_cell: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Cells of each frame to remember, each once: numbers [B, k] and which of them are any.

        Args:
            per_box: [B, D, n] random numbers, by which a box's cells are drawn.
            per_cell: [B, n] random numbers, by which a frame's cells are drawn.
        """
        inside = self._inside(detections, maps.shape[2:], img_shapes)
        count = min(self.cells_per_box, inside.shape[2])
        drawn, of_box = per_box.masked_fill(~inside, -1).topk(count, dim=2)
        chosen = torch.zeros_like(per_cell, dtype=torch.int32)
        ones = (drawn >= 0).to(chosen.dtype).flatten(1)
        chosen = chosen.scatter_reduce(1, of_box.flatten(1), ones, 'amax') > 0
        norm = maps.float().flatten(2).norm(dim=1)
        strongest = norm.topk(min(self.fallback_cells, norm.shape[1]), dim=1).indices
        fallback = torch.zeros_like(chosen).scatter(1, strongest, True)
        chosen = torch.where(chosen.any(dim=1, keepdim=True), chosen, fallback)
        count = min(self.cells_per_frame, chosen.shape[1])
        drawn, cells = per_cell.masked_fill(~chosen, -1).topk(count, dim=1)
        return cells, drawn >= 0

    def _centres(self, size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        """x [n] and y [n] of the cells' centres in pixels."""
        number = torch.arange(size[0] * size[1], device=like.device)
        return (number % size[1] + 0.5) * self.stride, (number // size[1] + 0.5) * self.stride

    def _on_image(self, img_shapes: Tensor, size: tuple[int, int]) -> Tensor:
        """Which cells [B, n] begin on the image, not on its padding."""
        x, y = self._centres(size, img_shapes)
        half = self.stride / 2
        return (x - half < img_shapes[:, 1:]) & (y - half < img_shapes[:, :1])

    def _inside(
        self, detections: BatchDetections, size: tuple[int, int], img_shapes: Tensor
    ) -> Tensor:
        """Which cells lie in which confident detections: [B, D, n]."""
        x, y = self._centres(size, detections.boxes)
        x1, y1, x2, y2 = detections.boxes[..., None].unbind(2)
        inside = (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
        confident = detections.valid & (detections.scores > self.score_thr)
        return inside & confident[..., None] & self._on_image(img_shapes, size)[:, None]


def _gather_rows(cells: Tensor, chosen: Tensor) -> Tensor:
    """Rows [B, k, C] of cells [B, n, C]."""
    return cells.gather(1, chosen[..., None].expand(-1, -1, cells.shape[2]))
