"""What CenterNet learns (arXiv 1904.07850, sections 3 and 4).

Shapes: B images, K objects (padded), C classes, h, w the size of the map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.batch import GroundTruth

MIN_OVERLAP = 0.3  # a box moved by the radius still has this IoU with its object


@dataclass
class CenterTargets:
    """`heatmap` [B, C, h, w]: 1 in the cells of centres, falling off around them. For every object:
    its cell [B, K], size (w, h) and centre within the cell (x, y), both in cells [B, K, 2], and
    whether it is learnt there [B, K]: of several objects in one cell the last."""

    heatmap: Tensor
    cells: Tensor
    sizes: Tensor
    offsets: Tensor
    learnt: Tensor


@torch.no_grad()
def center_targets(
    gt: GroundTruth, size: tuple[int, int], stride: int, num_classes: int
) -> CenterTargets:
    """Targets on a map of (height, width)."""
    height, width = size
    boxes = gt.boxes / stride
    centre, sizes = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    x = centre[..., 0].long().clamp(0, width - 1)
    y = centre[..., 1].long().clamp(0, height - 1)
    cells = y * width + x
    order = torch.arange(cells.shape[1], device=cells.device)
    later = order[None] > order[:, None]
    replaced = (cells[:, :, None] == cells[:, None]) & later & gt.valid[:, None]
    return CenterTargets(
        heatmap=_heatmap(gt, x, y, gaussian_radius(sizes), size, num_classes),
        cells=cells,
        sizes=sizes,
        offsets=centre - torch.stack([x, y], dim=-1),
        learnt=gt.valid & ~replaced.any(-1),
    )


def _heatmap(
    gt: GroundTruth, x: Tensor, y: Tensor, radius: Tensor, size: tuple[int, int], classes: int
) -> Tensor:
    """The largest of the bells of each class's objects, [B, C, h, w]."""
    sigma = (2 * radius + 1) / 6
    bells = []
    for centre, cells in ((y, size[0]), (x, size[1])):
        away = (torch.arange(cells, device=x.device) - centre[..., None]).float()
        bell = torch.exp(-(away**2) / (2 * sigma[..., None] ** 2))
        bells.append(bell * (away.abs() <= radius[..., None]))
    bell = bells[0][..., :, None] * bells[1][..., None, :] * gt.valid[..., None, None]
    labels = gt.labels[..., None, None].expand_as(bell)
    empty = bell.new_zeros(len(bell), classes, *size)
    return empty.scatter_reduce(1, labels, bell, 'amax')


def gaussian_radius(sizes: Tensor) -> Tensor:
    """How far, in whole cells, both corners of boxes of `sizes` [..., 2] may move inwards and keep
    MIN_OVERLAP; [...] float. The other two ways (both outwards, one of each) always allow more."""
    width, height = sizes.clamp(min=0).unbind(-1)
    perimeter, lost = height + width, (1 - MIN_OVERLAP) * (width * height)
    # the smaller root of (w - 2r)(h - 2r) = MIN_OVERLAP * w * h
    return ((perimeter - (perimeter**2 - 4 * lost).sqrt()) / 4).floor().clamp(min=0)
