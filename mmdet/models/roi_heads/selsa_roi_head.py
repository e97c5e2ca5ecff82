"""Region heads that mix in the regions of other frames: SELSA and MAMBA.

Shapes: N query regions of a frame, M reference regions, C channels of the fully connected layers.
References are projected once per layer and kept in that form: keys and values [M, 2C] of SELSA's
attention, [M, K] of another aggregator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import Aggregator
from mmdet.models.memory import MemoryBank
from mmdet.models.roi_heads.bbox_head import Shared2FCBBoxHead
from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead
from mmdet.registry import MODELS


@MODELS.register_module()
class SelsaBBoxHead(Shared2FCBBoxHead):
    """After each shared layer, rows take from the references' rows of that layer (SELSA, fig. 3).

    References themselves are never enhanced, so their keys hold for the whole video.

    Args:
        aggregator: config of an `Aggregator`, one per shared layer.
        kwargs: of `Shared2FCBBoxHead`.

    Raises:
        ConfigError: `aggregator` is something else.
    """

    def __init__(self, aggregator: dict, **kwargs) -> None:
        super().__init__(**kwargs)
        self.aggregator = nn.ModuleList(MODELS.build(aggregator) for _ in self.shared_fcs)
        if not isinstance(self.aggregator[0], Aggregator):
            raise ConfigError(
                f'The `aggregator` of a {type(self).__name__} must inherit '
                f'mmdet.models.aggregators.Aggregator, which {aggregator["type"]} does not.'
            )

    def embed(self, rows: Tensor) -> list[Tensor]:
        """What is kept of first-layer rows [M, C] as references, per layer [M, 2C]."""
        keys = [self.aggregator[0].project(rows)]
        for fc, aggregator in zip(self.shared_fcs[1:], self.aggregator[1:], strict=True):
            rows = fc(F.relu(rows))
            keys.append(aggregator.project(rows))
        return keys

    def enhance(self, layer: int, rows: Tensor, keys: list[Tensor]) -> Tensor:
        """Rows [N, C] plus what they take from the layer's keys [M, 2C]."""
        return rows + self.aggregator[layer].attend(rows, keys[layer])


@MODELS.register_module()
class MambaBBoxHead(SelsaBBoxHead):
    """SELSA's head on a memory: reads a random key set, then writes the best enhanced rows.

    Args:
        topk: regions of each frame that become references or are written, best proposals first.
    """

    def __init__(self, topk: int = 300, **kwargs) -> None:
        super().__init__(**kwargs)
        self.topk = topk

    def make_memory(self, generator: torch.Generator) -> list[MemoryBank]:
        """An empty bank per layer."""
        return [MemoryBank(generator, **agg.memory_cfg) for agg in self.aggregator]

    def enhance(self, layer: int, rows: Tensor, keys: list[Tensor] | list[MemoryBank]) -> Tensor:
        memory = keys[layer]
        if not isinstance(memory, MemoryBank):  # training and first frames see all references
            return super().enhance(layer, rows, keys)
        aggregator = self.aggregator[layer]
        rows = rows + aggregator.attend(rows, memory.sample())
        memory.update(aggregator.project(rows[: self.topk]))
        return rows


@MODELS.register_module()
class SelsaRoIHead(StandardRoIHead):
    """A region head whose regions see other frames; its `bbox_head` must be able to."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if not isinstance(self.bbox_head, SelsaBBoxHead):
            raise ConfigError(
                f'{type(self).__name__} needs a bbox_head that takes references (SelsaBBoxHead, '
                f'MambaBBoxHead), got {type(self.bbox_head).__name__}.'
            )


@MODELS.register_module()
class MambaRoIHead(SelsaRoIHead):
    """The name that MAMBA configs use; the difference lies in `MambaBBoxHead`."""
