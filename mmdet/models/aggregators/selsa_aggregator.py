"""Multi-head attention of a frame's features over those of other frames.

Shapes: B frames, N query rows, M reference rows, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators.base import Aggregator
from mmdet.registry import MODELS

HEAD_MULTIPLE = 8  # fused attention on a GPU wants heads of a multiple of so many channels


@MODELS.register_module()
class SelsaAggregator(Aggregator):
    """Sequence level semantics aggregation (SELSA, arXiv 1907.06390, section 3.2).

    `fc(softmax(q k^T / sqrt(d)) v)` with heads of d = C / heads contiguous channels; the caller
    adds the residual. The keys and values of references do not depend on the query, so a video
    computes them once: `project` makes them, `attend` uses them.

    Args:
        in_channels: C.
        num_attention_blocks: heads.
    """

    def __init__(self, in_channels: int, num_attention_blocks: int = 16) -> None:
        super().__init__()
        if in_channels % num_attention_blocks:
            raise ConfigError(
                f'in_channels={in_channels} is no multiple of '
                f'num_attention_blocks={num_attention_blocks}.'
            )
        self.heads = num_attention_blocks
        self.fc_embed = nn.Linear(in_channels, in_channels)
        self.ref_fc_embed = nn.Linear(in_channels, in_channels)
        self.fc = nn.Linear(in_channels, in_channels)
        self.ref_fc = nn.Linear(in_channels, in_channels)

    def project(self, refs: Tensor) -> Tensor:
        """Keys and values of `refs` [..., C], side by side: [..., 2C]."""
        return torch.cat([self.ref_fc_embed(refs), self.ref_fc(refs)], dim=-1)

    def mix(self, query: Tensor, keys_values: Tensor, valid: Tensor | None) -> Tensor:
        queries = self._split(self.fc_embed(query))
        keys, values = (self._split(x) for x in keys_values.to(queries.dtype).chunk(2, dim=-1))
        mask = None if valid is None else valid[:, None, None]
        width = queries.shape[3]
        if queries.is_cuda and width % HEAD_MULTIPLE:
            missing = HEAD_MULTIPLE - width % HEAD_MULTIPLE
            queries, keys, values = (F.pad(x, (0, missing)) for x in (queries, keys, values))
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=width**-0.5
        )
        return self.fc(mixed[..., :width].transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """[B, L, C] -> [B, heads, L, d]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


@MODELS.register_module()
class MambaAggregator(SelsaAggregator):
    """The enhancement operation of MAMBA (arXiv 2401.09923, section 3.3): SELSA's attention, with
    the settings of the memory it reads.

    Args:
        memory_cfg: arguments of `MemoryBank`, such as `dict(max_length=20000, key_length=2000)`.
    """

    def __init__(
        self, in_channels: int, num_attention_blocks: int = 16, memory_cfg: dict | None = None
    ) -> None:
        super().__init__(in_channels, num_attention_blocks)
        self.memory_cfg = memory_cfg or {}
