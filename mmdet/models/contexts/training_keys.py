"""Which cells of reference frames are keys while EOVOD trains.

Shapes: B clips of R references, D boxes of a frame, n cells of a map, C channels, M keys of a clip.
"""

import torch
from torch import Tensor

from mmdet.models.aggregators.base import Aggregator
from mmdet.models.contexts.key_cells import Keys


def keys_in_objects(
    aggregator: Aggregator, x: Tensor, mask: Tensor, refs: int, most: int | None
) -> Keys:
    """Cells that lie in objects of the references; all cells of clips that have none.

    Args:
        x: maps [B * R, C, h, w]. mask: [B * R, n]. refs: R.
        most: of a clip; more cells than this are drawn from. None: no limit.
    """
    cells = x.flatten(2).transpose(1, 2).unflatten(0, (-1, refs)).flatten(1, 2)
    mask = mask.unflatten(0, (-1, refs)).flatten(1)
    mask = mask | ~mask.any(1, keepdim=True)
    return _drawn(aggregator, cells, mask, most)


def random_keys(aggregator: Aggregator, x: Tensor, refs: int, per_ref: int) -> Keys:
    """Up to `per_ref` random cells of every reference, maps [B * R, C, h, w] (the released way)."""
    cells = x.flatten(2).transpose(1, 2)
    everything = torch.ones(cells.shape[:2], dtype=torch.bool, device=x.device)
    drawn = _drawn(aggregator, cells, everything, per_ref)
    keys, valid = (x.unflatten(0, (-1, refs)).flatten(1, 2) for x in drawn)
    return keys, valid


def _drawn(aggregator: Aggregator, cells: Tensor, mask: Tensor, most: int | None) -> Keys:
    """Keys [B, M, K] of cells [B, N, C] in `mask` [B, N], which of them exist [B, M]."""
    count = mask.shape[1] if most is None else min(most, mask.shape[1])
    draw = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1)
    draw, chosen = draw.topk(count, dim=1)
    cells = cells.gather(1, chosen[..., None].expand(-1, -1, cells.shape[2]))
    return aggregator.project(cells), draw >= 0
