"""Which object each point of FCOS learns (arXiv 1904.01355, section 3).

Shapes: B images, L levels, P points of all levels, K objects (padded), C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet.models.batch import GroundTruth

FAR = 1e8


def distance_ranges(strides: Sequence[int], reach: float = 8) -> list[tuple[float, float]]:
    """Per level (low, high) of the largest distance that it learns, in pixels, both included: up to
    `reach` of its strides, the last level all. (-1, 64), (64, 128), ..., (512, 1e8) for 8 to 128.
    """
    borders = [float(reach * stride) for stride in strides[:-1]]
    return list(zip([-1.0, *borders], [*borders, FAR], strict=True))


@torch.no_grad()
def fcos_targets(
    points: Sequence[Tensor],
    ranges: Sequence[tuple[float, float]],
    gt: GroundTruth,
    num_classes: int,
) -> tuple[Tensor, Tensor]:
    """Labels [B, P], `num_classes` where nothing is, and distances [B, P, 4] (0 there).

    A point (x, y) of `points`, per level [P_l, 2], learns the smallest of the objects that it lies
    strictly inside of and whose largest distance falls into the range of its level.
    """
    every = torch.cat(list(points))
    counts = [len(x) for x in points]
    low, high = (
        torch.cat([every.new_full((n,), pair[end]) for n, pair in zip(counts, ranges, strict=True)])
        for end in (0, 1)
    )
    low_side = every[None, :, None] - gt.boxes[:, None, :, :2]
    high_side = gt.boxes[:, None, :, 2:] - every[None, :, None]
    distances = torch.cat([low_side, high_side], dim=-1)  # [B, P, K, 4]
    largest = distances.amax(-1)
    fits = (largest >= low[:, None]) & (largest <= high[:, None])
    candidate = (distances.amin(-1) > 0) & fits & gt.valid[:, None]
    area = (gt.boxes[..., 2:] - gt.boxes[..., :2]).prod(-1)[:, None].expand_as(candidate)
    smallest, chosen = torch.where(candidate, area, FAR * FAR).min(dim=-1)
    positive = smallest < FAR * FAR
    chosen_distances = distances.gather(2, chosen[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    return (
        torch.where(positive, gt.labels.gather(1, chosen), num_classes),
        torch.where(positive[..., None], chosen_distances, 0.0),
    )


def centerness_of(distances: Tensor) -> Tensor:
    """How central points are in their boxes, from distances [..., 4]: 1 in the middle, 0 at the
    border (equation 3)."""
    horizontal, vertical = distances[..., 0::2], distances[..., 1::2]
    ratio = horizontal.amin(-1) * vertical.amin(-1)
    return (ratio / (horizontal.amax(-1) * vertical.amax(-1)).clamp(min=1e-12)).sqrt()
