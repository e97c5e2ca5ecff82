"""Relation of regions to regions of other frames, with and without where they lie.

Relation Networks (arXiv 1711.11575) as RDN (1908.09511) and MEGA (2003.12063) use them.
Shapes: B frames, N query regions, M key regions, C channels, H heads, D = C / H.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators.box_relation import BOX_CHANNELS, box_relation
from mmdet.registry import MODELS

QUERY_CHUNK = 128  # queries whose position terms exist at a time: 48 * 128 * M floats


@MODELS.register_module()
class Relation(nn.Module):
    """`softmax((q + u) k^T / sqrt(D) + position) v`: what each query takes from the keys.

    The original sums the keys themselves per head and projects the sums; as the projection is
    linear, projecting the keys first gives the same at an eighth of the cost. There is no output
    projection, and the caller adds the result to the query.

    Args:
        channels: C. heads: H.
        position: add `log(relu(W e + b) + 1e-6)` for the embedding `e` of how two boxes lie to each
            other; its memory is bounded by QUERY_CHUNK, whatever N is.
        key_prior: a learned vector per head added to every query, so that keys count by themselves
            (`u`; MEGA has it, RDN does not).
    """

    def __init__(
        self, channels: int, heads: int = 16, position: bool = True, key_prior: bool = True
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f'channels={channels} of Relation is no multiple of heads={heads}.')
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.pos = nn.Linear(BOX_CHANNELS, heads) if position else None
        if key_prior:
            self.u = nn.Parameter(torch.empty(heads, 1, channels // heads))
        else:
            self.register_parameter('u', None)
        self._random_init()

    def _random_init(self) -> None:
        for layer in (self.q, self.k):
            nn.init.kaiming_uniform_(layer.weight, a=1)
        positions = [] if self.pos is None else [self.pos]
        for weight in [x.weight for x in (self.v, *positions)] + [self.u] * (self.u is not None):
            nn.init.normal_(weight, std=0.01)
        for layer in (self.q, self.k, self.v, *positions):
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        query_boxes: Tensor | None = None,
        key_boxes: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """What `query` [B, N, C] takes from `keys` [B, M, C]: [B, N, C].

        Args:
            query_boxes, key_boxes: [B, N, 4] and [B, M, 4], needed with `position`.
            valid: [B, M], False where a key is only padding. Each frame needs one valid key.
        """
        q, k, v = self._split(self.q(query)), self._split(self.k(keys)), self._split(self.v(keys))
        if self.u is not None:
            q = q + self.u
        absent = None if valid is None else ~valid[:, None, None]
        if self.pos is None:
            bias = None if valid is None else q.new_zeros(absent.shape)
            mixed = self._attend(q, k, v, bias, absent)
        else:
            queries, boxes = q.split(QUERY_CHUNK, dim=2), query_boxes.split(QUERY_CHUNK, dim=1)
            parts = [
                self._attend(x, k, v, self._bias(own, key_boxes), absent)
                for x, own in zip(queries, boxes, strict=True)
            ]
            mixed = torch.cat(parts, dim=2)
        return mixed.transpose(1, 2).flatten(2)

    @property
    def float32_layers(self) -> tuple[str, ...]:
        """The logarithm would magnify the rounding of halves."""
        return () if self.pos is None else ('pos',)

    @staticmethod
    def _attend(
        q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, absent: Tensor | None
    ) -> Tensor:
        """Absent keys have a weight of 0 from a bias that is finite: a window begins with many, and
        a fused kernel may turn a block of infinite ones into NaN."""
        bias = None if bias is None else bias.to(q.dtype)
        if absent is not None:
            bias = bias.masked_fill_(absent, torch.finfo(q.dtype).min / 2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def _bias(self, query_boxes: Tensor, key_boxes: Tensor) -> Tensor:
        """[B, H, n, M], at least float32."""
        with torch.autocast(query_boxes.device.type, enabled=False):
            gate = box_relation(query_boxes, key_boxes, self.pos.weight, self.pos.bias)
            return gate.clamp_(min=0).add_(1e-6).log_()  # in place, as far as training allows

    def _split(self, x: Tensor) -> Tensor:
        """[B, L, C] -> [B, H, L, D]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
