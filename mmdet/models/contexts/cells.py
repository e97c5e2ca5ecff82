"""Cells of a map: which lie in boxes, and attention for these alone.

Shapes: B frames, D boxes of a frame, C channels, h, w a map's size, n = h * w cells row by row, Q
queries, M keys.
"""

import torch
from torch import Tensor

from mmdet.models.aggregators.base import Aggregator


def cells_in_boxes(
    boxes: Tensor, valid: Tensor, size: tuple[int, int], stride: int, ratio: float = 1.0
) -> Tensor:
    """Which cells [B, n] lie in some box: their centre does, the border included.

    A box also has the cell that holds its own centre, so that a tiny one is not lost.

    Args:
        boxes: [B, D, 4] in pixels of the resized image. valid: [B, D].
        ratio: boxes are scaled about their centre by this before.
    """
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) * (ratio / 2)
    inside = []
    for axis, cells in enumerate((size[1], size[0])):  # columns, rows
        number = torch.arange(cells, device=boxes.device)
        middle, reach = centre[..., axis, None], half[..., axis, None]
        at = (number + 0.5) * stride
        within = (at >= middle - reach) & (at <= middle + reach)
        own = number == (middle / stride).long().clamp(0, cells - 1)
        inside.append(torch.cat([within, own], dim=1) & valid.repeat(1, 2)[..., None])
    columns, rows = (x.float() for x in inside)  # a product counts the boxes of a cell
    return (rows.transpose(1, 2) @ columns > 0).flatten(1)


def numbered(mask: Tensor, most: int | None) -> tuple[Tensor, Tensor]:
    """Numbers [B, Q] of the cells of a mask [B, n], and which of the Q slots are used [B, Q].

    On a GPU, Q is `most` (None: n), so that shapes do not depend on what is found; on a CPU as many
    as there are (at least 1), which saves the work. Cells beyond `most` are left out.
    """
    count = mask.shape[1] if most is None else min(most, mask.shape[1])
    if mask.device.type == 'cpu':
        count = min(count, max(1, int(mask.sum(1).max())))
    place = mask.cumsum(1) - 1
    slot = torch.where(mask & (place < count), place, count)
    cells = torch.arange(mask.shape[1], device=mask.device).expand_as(slot)
    numbers = slot.new_zeros(len(mask), count + 1).scatter(1, slot, cells)[:, :count]
    used = torch.arange(count, device=mask.device) < mask.sum(1, keepdim=True)
    return numbers * used, used


def attend_in(
    aggregator: Aggregator,
    x: Tensor,
    mask: Tensor,
    keys: Tensor,
    valid: Tensor,
    most: int | None = None,
) -> Tensor:
    """Maps [B, C, h, w] whose cells of `mask` [B, n] have taken from the keys; others unchanged.

    With nothing in the mask the aggregator still has a gradient, of 0, as data parallelism needs.

    Args:
        keys: [B, M, K] projected by the aggregator. valid: [B, M]; without any, nothing changes.
        most: see `numbered`.
    """
    cells = x.flatten(2).transpose(1, 2)
    if cells.is_cuda and (most is None or most >= mask.shape[1]):  # no cell can be left out
        mixed = aggregator.attend(cells, keys, valid) * mask[..., None]
        return (cells + mixed.to(cells.dtype)).transpose(1, 2).unflatten(2, x.shape[2:])
    numbers, used = numbered(mask, most)
    at = numbers[..., None].expand(-1, -1, cells.shape[2])
    mixed = aggregator.attend(cells.gather(1, at), keys, valid) * used[..., None]
    return cells.scatter_add(1, at, mixed.to(cells.dtype)).transpose(1, 2).unflatten(2, x.shape[2:])
