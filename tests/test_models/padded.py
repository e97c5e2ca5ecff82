"""Batches filled up to one size, with garbage in the slots that do not exist.

The garbage lies where the boxes of the tests lie: reading it changes what comes out.
"""

import torch
from torch import Tensor

from mmdet.models.batch import GroundTruth
from mmdet.models.dense_heads.rpn_head import Proposals

GARBAGE = [11.0, 9.0, 52.0, 61.0, 0.99]
SPARE = 2  # slots more than the fullest image needs


def pad(
    rows: list[Tensor], width: int = 4, garbage: list[float] = GARBAGE
) -> tuple[Tensor, Tensor]:
    """Rows [n, width] of every image as [B, N, width], and which of them exist [B, N]."""
    size = max(len(r) for r in rows) + SPARE
    padded = torch.tensor(garbage[:width]).repeat(len(rows), size, 1)
    valid = torch.zeros(len(rows), size, dtype=torch.bool)
    for i, own in enumerate(rows):
        padded[i, : len(own)] = own
        valid[i, : len(own)] = True
    return padded, valid


def box_rows(*rows: list[float], width: int = 4) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, width)


def ground_truth(*images: tuple[list, list]) -> GroundTruth:
    """From the boxes and labels of every image."""
    boxes, valid = pad([box_rows(*boxes) for boxes, _ in images])
    labels = torch.ones(valid.shape, dtype=torch.long)
    for i, (_, own) in enumerate(images):
        labels[i, : len(own)] = torch.tensor(own, dtype=torch.long)
    return GroundTruth(boxes, labels, valid)


def proposals(*images: Tensor) -> Proposals:
    """From boxes with scores [n, 5] of every image."""
    rows, valid = pad(list(images), width=5)
    return Proposals(rows[..., :4], rows[..., 4], valid)
