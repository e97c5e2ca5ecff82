"""The region head of MEGA and RDN: regions take from a window of frames between its layers.

Shapes: B frames, P regions of a frame, F width of the shared layers.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import MegaAggregator, RDNAggregator
from mmdet.models.aggregators.regions import Regions
from mmdet.models.roi_heads.bbox_head import Shared2FCBBoxHead
from mmdet.registry import MODELS


@dataclass
class RelationKeys:
    """What the regions of B frames see: the best of every frame of a window [B, W, R, ...], of
    global frames [B, M, ...] and, for every local stage, of earlier windows [B, M_i, ...]."""

    window: Regions
    globals: Regions | None = None
    memory: list[Regions] | None = None


@MODELS.register_module()
class RelationBBoxHead(Shared2FCBBoxHead):
    """As many layers as the stages of its aggregator need, between which regions are related.

    Args:
        aggregator: config of a `MegaAggregator` or `RDNAggregator`.
        topk: regions of a frame that others see, best proposals first.
    """

    def __init__(self, aggregator: dict, topk: int = 75, **kwargs) -> None:
        stages = MODELS.build(aggregator)
        if not isinstance(stages, (MegaAggregator, RDNAggregator)):
            raise ConfigError(
                f'The `aggregator` of a RelationBBoxHead is a MegaAggregator or an RDNAggregator, '
                f'got {type(stages).__name__}.'
            )
        if stages.distilled > topk:
            raise ConfigError(f'distilled={stages.distilled} of topk={topk} regions is impossible.')
        super().__init__(num_shared_fcs=stages.num_fcs, **kwargs)
        self.aggregator = stages
        self.topk = topk

    def classify(
        self, roi_feats: Tensor, keys: RelationKeys | None = None, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits and offsets as in `Shared2FCBBoxHead`, of regions with `boxes` [B, P, 4]; and what
        each local stage leaves to a memory: features of the window's frames [B, W, R, F]."""
        roi_feats = F.relu(roi_feats)
        key = Regions(roi_feats, boxes, roi_feats.new_ones(roi_feats.shape[:2], dtype=bool))
        roi_feats, kept = self.aggregator(
            self.shared_fcs[1:], key, keys.window, keys.globals, keys.memory
        )
        roi_feats = roi_feats.to(self.fc_cls.weight.dtype)
        logits, deltas = self.fc_cls(roi_feats).float(), self.fc_reg(roi_feats).float()
        return logits, deltas, [regions.roi_feats for regions in kept]
