"""Batches filled up to one size with garbage, small maps, and heads with outputs that vary."""

import torch
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth
from mmdet.models.dense_heads.rpn_head import Proposals

SIZES = {8: (8, 12), 16: (4, 6), 32: (2, 3), 64: (1, 2), 128: (1, 1)}  # of a 64x96 image
IMAGE = (60, 90)  # before padding
# In the slots that do not exist; it lies where the boxes are: reading it changes what comes out.
GARBAGE = [11.0, 9.0, 52.0, 61.0, 0.99]


def pad(
    rows: list[Tensor], spare: int = 2, garbage: list[float] = GARBAGE
) -> tuple[Tensor, Tensor]:
    """Rows [n, C] of every image as [B, N, C], and which of them exist [B, N]."""
    size = max(1, *map(len, rows)) + spare
    padded = torch.tensor(garbage[: rows[0].shape[1]]).repeat(len(rows), size, 1)
    valid = torch.zeros(len(rows), size, dtype=torch.bool)
    for i, own in enumerate(rows):
        padded[i, : len(own)] = own
        valid[i, : len(own)] = True
    return padded, valid


def padded(boxes: list[list[list[float]]], labels: list[list[int]], spare: int = 0) -> GroundTruth:
    """Ground truth of a batch from each image's boxes and labels."""
    rows, valid = pad([torch.tensor(b).float().reshape(-1, 4) for b in boxes], spare)
    numbers = torch.ones(valid.shape, dtype=torch.long)
    for i, own in enumerate(labels):
        numbers[i, : len(own)] = torch.tensor(own, dtype=torch.long)
    return GroundTruth(rows, numbers, valid)


def proposals(*images: Tensor) -> Proposals:
    """From boxes with scores [n, 5] of every image."""
    rows, valid = pad(list(images))
    return Proposals(rows[..., :4], rows[..., 4], valid)


def maps(strides, channels: int, images: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(images, channels, *SIZES[s], generator=generator) for s in strides)


def lively(head: nn.Module, std: float = 0.3) -> nn.Module:
    """Random weights of every parameter with more than one axis, so that outputs differ."""
    torch.manual_seed(3)
    for parameter in head.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=std / parameter[0].numel() ** 0.5)
    return head


def shapes(images: int) -> Tensor:
    return torch.tensor([IMAGE] * images, dtype=torch.float32)
