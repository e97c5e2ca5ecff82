"""Region heads that mix in the regions of other frames: SELSA and MAMBA.

Shapes: B frames, P regions of a frame, M reference regions, C channels of the shared layers.
References are projected once per layer and kept in that form: keys and values [M, 2C] of SELSA's
attention, [M, K] of another aggregator.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import Aggregator
from mmdet.models.roi_heads.bbox_head import Keys, Shared2FCBBoxHead
from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead
from mmdet.registry import MODELS


@MODELS.register_module()
class SelsaBBoxHead(Shared2FCBBoxHead):
    """After each shared layer, regions take from the references' of that layer (SELSA, fig. 3).

    References themselves are never enhanced, so their keys hold for the whole video.

    Args:
        aggregator: config of an `Aggregator`, one per shared layer.
        topk: regions of a frame that become references, best proposals first; None: all.
    """

    def __init__(self, aggregator: dict, topk: int | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.topk = topk
        self.aggregator = nn.ModuleList(MODELS.build(aggregator) for _ in self.shared_fcs)
        if not isinstance(self.aggregator[0], Aggregator):
            raise ConfigError(
                f'The `aggregator` of a {type(self).__name__} must inherit '
                f'mmdet.models.aggregators.Aggregator, which {aggregator["type"]} does not.'
            )

    def project_refs(self, roi_feats: Tensor) -> list[Tensor]:
        """What is kept of first-layer features [..., C] as references, per layer [..., 2C]."""
        keys = [self.aggregator[0].project(roi_feats)]
        for fc, aggregator in zip(self.shared_fcs[1:], self.aggregator[1:], strict=True):
            roi_feats = fc(F.relu(roi_feats))
            keys.append(aggregator.project(roi_feats))
        return keys

    def enhance(self, layer: int, roi_feats: Tensor, keys: Keys | None) -> Tensor:
        """Features [B, P, C] plus what they take from the layer's keys [B, M, 2C]."""
        if keys is None:
            return roi_feats
        return roi_feats + self.aggregator[layer].attend(roi_feats, keys.layers[layer], keys.valid)


@MODELS.register_module()
class MambaBBoxHead(SelsaBBoxHead):
    """SELSA's head for a memory, to which the `topk` regions of a frame are written."""

    def __init__(self, topk: int = 300, **kwargs) -> None:
        super().__init__(topk=topk, **kwargs)


@MODELS.register_module(name=['SelsaRoIHead', 'MambaRoIHead'])
class SelsaRoIHead(StandardRoIHead):
    """A region head whose regions see other frames; MAMBA differs only in its `MambaBBoxHead`."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if not isinstance(self.bbox_head, SelsaBBoxHead):
            raise ConfigError(
                f'A SelsaRoIHead or MambaRoIHead needs a bbox_head that takes references '
                f'(SelsaBBoxHead, MambaBBoxHead), got {type(self.bbox_head).__name__}.'
            )
