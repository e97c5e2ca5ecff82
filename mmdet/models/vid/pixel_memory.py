"""MAMBA's pixel level: cells of the backbone map attend to cells of earlier frames.

The released code has the instance level only; choices follow the paper (arXiv 2401.09923,
section 3) and, where it is silent, the authors' later re-implementation.

Shapes: C channels of the map, h and w its size, M remembered cells.
"""

import torch
from torch import Tensor, nn

from mmdet.models.aggregators import MambaAggregator
from mmdet.models.memory import MemoryBank
from mmdet.registry import MODELS
from mmdet.structures import Detections, Frame


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
        score_thr: detections above it are remembered.
        cells_per_box, cells_per_frame: at most so many cells, drawn at random.
        fallback_cells: cells of largest norm that are remembered when nothing was detected.
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

    def make_memory(self, generator: torch.Generator) -> MemoryBank:
        """An empty bank of cells."""
        return MemoryBank(generator, **self.aggregator.memory_cfg)

    def enhance(self, feat: Tensor, keys: Tensor) -> Tensor:
        """One map [C, h, w] plus what its cells take from `keys` [M, 2C]."""
        cells = feat.flatten(1).t()
        cells = cells + self.aggregator.attend(cells, keys)
        return cells.t().unflatten(1, feat.shape[1:])

    def train_enhance(self, key_maps: Tensor, ref_maps: Tensor, frames: list[Frame]) -> Tensor:
        """Maps of the key frames [B, C, h, w], each enhanced by cells of its own references.

        Args:
            ref_maps: [B * R, C, h, w]. frames: the B * R reference frames.
        """
        cells = [self._random_cells(x, f) for x, f in zip(ref_maps, frames, strict=True)]
        refs = len(cells) // len(key_maps)
        per_clip = [torch.cat(cells[i : i + refs]) for i in range(0, len(cells), refs)]
        project = self.aggregator.project
        maps = [self.enhance(x, project(c)) for x, c in zip(key_maps, per_clip, strict=True)]
        return torch.stack(maps)

    def write(self, memory: MemoryBank, feat: Tensor, found: Detections, frame: Frame) -> None:
        """Remember cells of one map [C, h, w] inside what was detected on its frame."""
        cells = feat.flatten(1).t()
        chosen = self._cells_of(found, frame, feat.shape[2], memory.generator)
        if len(chosen) == 0:
            chosen = cells.norm(dim=1).topk(min(self.fallback_cells, len(cells))).indices
        memory.update(self.aggregator.project(cells[chosen.to(cells.device)]))

    def _valid_size(self, frame: Frame) -> tuple[int, int]:
        """Rows and columns of the map that lie on the image, not on its padding."""
        return tuple(-(-side // self.stride) for side in frame.img_shape)

    def _random_cells(self, feat: Tensor, frame: Frame) -> Tensor:
        height, width = self._valid_size(frame)
        cells = feat[:, :height, :width].flatten(1).t()
        return cells[torch.randperm(len(cells))[: self.train_cells].to(cells.device)]

    def _cells_of(
        self, found: Detections, frame: Frame, map_width: int, generator: torch.Generator
    ) -> Tensor:
        """Flat indices of random cells inside confident detections, each cell once."""
        height, width = self._valid_size(frame)
        boxes = found.boxes[found.scores > self.score_thr]
        boxes = boxes * boxes.new_tensor(frame.scale_factor * 2) / self.stride
        chosen = []
        for x1, y1, x2, y2 in boxes.long().tolist():
            ys = torch.arange(max(y1, 0), min(y2, height - 1) + 1)
            xs = torch.arange(max(x1, 0), min(x2, width - 1) + 1)
            cells = (ys[:, None] * map_width + xs).flatten()
            order = torch.randperm(len(cells), generator=generator)
            chosen.append(cells[order[: self.cells_per_box]])
        cells = torch.cat(chosen).unique() if chosen else torch.zeros(0, dtype=torch.long)
        if len(cells) > self.cells_per_frame:
            order = torch.randperm(len(cells), generator=generator)
            cells = cells[order[: self.cells_per_frame]]
        return cells
