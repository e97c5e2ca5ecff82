"""Which object each point of FCOS learns (arXiv 1904.01355, section 3).

Shapes: B images, L levels, P points of all levels, K objects (padded), C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet.models.batch import GroundTruth

FAR = 1e8


def distance_ranges(strides: Sequence[int], reach: float = 8) -> list[tuple[float, float]]:
    """Per level (low, high) of the largest distance that it learns, in pixels, both included.

    (-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8) for strides 8 to 128.

    Args:
        reach: every level learns distances up to so many of its strides, the last one all.
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

    A point learns the smallest of the objects that it lies strictly inside of and whose largest
    distance falls into the range of its level.

    Args:
        points: (x, y) of every level's points, [P_l, 2].
        ranges: per level, see `distance_ranges`.
    """
    low, high = (
        torch.cat(
            [x.new_full((len(x),), pair[end]) for x, pair in zip(points, ranges, strict=True)]
        )
        for end in (0, 1)
    )
    all_points = torch.cat(list(points))
    boxes, labels, valid = _with_nothing(gt, num_classes)
    low_side = all_points[None, :, None] - boxes[:, None, :, :2]
    high_side = boxes[:, None, :, 2:] - all_points[None, :, None]
    distances = torch.cat([low_side, high_side], dim=-1)  # [B, P, K, 4]
    largest = distances.amax(-1)
    fits = (largest >= low[:, None]) & (largest <= high[:, None])
    candidate = (distances.amin(-1) > 0) & fits & valid[:, None]
    sides = boxes[..., 2:] - boxes[..., :2]
    area = sides.prod(-1)[:, None].expand_as(candidate)
    smallest, chosen = torch.where(candidate, area, FAR * FAR).min(dim=-1)
    positive = smallest < FAR * FAR
    chosen_distances = distances.gather(2, chosen[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    return (
        torch.where(positive, labels.gather(1, chosen), num_classes),
        torch.where(positive[..., None], chosen_distances, 0.0),
    )


def _with_nothing(gt: GroundTruth, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The objects with one invalid one, so that a batch without any has a column."""
    pad = (0, 1)
    return (
        torch.nn.functional.pad(gt.boxes, (0, 0, *pad)),
        torch.nn.functional.pad(gt.labels, pad, value=num_classes),
        torch.nn.functional.pad(gt.valid, pad, value=False),
    )


def centerness_of(distances: Tensor) -> Tensor:
    """How central points are in their boxes, from distances [..., 4]: 1 in the middle, 0 at the
    border (equation 3)."""
    horizontal, vertical = distances[..., 0::2], distances[..., 1::2]
    ratio = horizontal.amin(-1) * vertical.amin(-1)
    return (ratio / (horizontal.amax(-1) * vertical.amax(-1)).clamp(min=1e-12)).sqrt()
