"""Batches that hold several frames of one video, taken one after the other."""

import torch
from torch import Tensor

from mmdet.models.base import VideoState
from mmdet.models.batch import ClipBatch


def turns(states: list[VideoState]) -> list[list[int]]:
    """Which clips are the first of their video in a batch, which the second, ..."""
    numbered: list[list[int]] = []
    seen: dict[int, int] = {}
    for i, state in enumerate(states):
        number = seen[id(state)] = seen.get(id(state), -1) + 1
        if number == len(numbered):
            numbered.append([])
        numbered[number].append(i)
    return numbered


def in_order(
    batch: ClipBatch, parts: list[tuple[list[int], tuple[Tensor, ...]]]
) -> tuple[Tensor, ...]:
    """Tensors of all clips in their order, from those of some clips each.

    Args:
        parts: numbers of clips, and tensors with a row for each.
    """
    if len(parts) == 1:
        return parts[0][1]
    places = [i for clips, _ in parts for i in clips]
    order = sorted(range(len(places)), key=places.__getitem__)
    columns = zip(*(tensors for _, tensors in parts), strict=True)
    return tuple(batch.take(torch.cat(column), order) for column in columns)
