"""The reference frames of a training clip on their way through a TDViT.

S: references, one per stage; B: key frames; H, W: a stage's token map, C: its channels.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmdet.models.backbones.swin_layers import SwinBlock
from mmdet.models.backbones.tdvit_layout import TemporalBlock

if TYPE_CHECKING:
    from mmdet.models.backbones.tdvit import TDViTTransformer


class ReferencePass:
    """Gives the map of the reference of each temporal block, in the order of the blocks.

    All references, [S, B, 3, h, w], enter stage 1 as one batch. Reference s leaves it in stage s,
    after the last temporal block there has its map. They pass in evaluation mode: stochastic depth
    would make a reference unlike the maps that are remembered in testing.
    """

    def __init__(self, backbone: 'TDViTTransformer', images: Tensor) -> None:
        self.backbone = backbone
        self.num_refs, self.pairs = images.shape[:2]
        self.stage = self.index = 0  # the block that comes next
        with torch.no_grad():
            self.x, self.hw = backbone.patch_embed(images.flatten(0, 1))

    @torch.no_grad()
    def map_at(self, place: TemporalBlock, key_map: Tensor) -> Tensor:
        """[B, H*W, C]: what the temporal block would remember of its stage's reference; `key_map`:
        the key frame's input of that block."""
        self._advance_to(place)
        block = self.backbone.block_at(place)
        seen = block.keys_values(key_map, self.hw) if self.backbone.paired else None
        kept = self.x[: self.pairs]
        if self.backbone.memory_feature == 'output':
            self._through(block, seen)
            kept = self.x[: self.pairs]
            self._leave(place)
        else:
            self._leave(place)
            self._through(block, seen)
        self.index += 1
        # weights that were cast here have no graph: the key frame's pass must not find them
        torch.clear_autocast_cache()
        return kept

    def _advance_to(self, place: TemporalBlock) -> None:
        """Pass everything that is in front of a block."""
        while self.stage < place.stage:
            stage = self.backbone.stages[self.stage]
            self._pass_blocks(len(stage.blocks))
            self._keep_from(self.stage + 1)
            self.x, self.hw = stage.downsample(self.x, self.hw)
            self.stage, self.index = self.stage + 1, 0
        self._pass_blocks(place.index)

    def _pass_blocks(self, end: int) -> None:
        """The stage's blocks up to `end`, none of them temporal."""
        for block in self.backbone.stages[self.stage].blocks[self.index : end]:
            self._through(block, None)
        self.index = end

    def _through(self, block: SwinBlock, seen: Tensor | None) -> None:
        """One block in evaluation mode; `seen`: keys and values [B, M*T, 2C] of the key frame."""
        if len(self.x) == 0:
            return
        mode = block.training
        block.eval()
        references = None if seen is None else seen.repeat(len(self.x) // self.pairs, 1, 1)
        self.x = block(self.x, self.hw, 0, references)
        block.train(mode)

    def _leave(self, place: TemporalBlock) -> None:
        """Stop computing the stage's reference once its last temporal block has a map of it."""
        places = self.backbone.temporal_blocks
        if place.index == max(p.index for p in places if p.stage == place.stage):
            self._keep_from(place.stage + 1)

    def _keep_from(self, stage: int) -> None:
        """Only the references of this and later stages."""
        self.x = self.x[len(self.x) - (self.num_refs - stage) * self.pairs :]
