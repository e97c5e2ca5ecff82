"""From dense scores to detections, without a host wait: fixed numbers of rows, masks for the rest.

Shapes: B images, P points, C classes, k candidates of a level, D detections of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.detections import BatchDetections
from mmdet.models.task_modules.nms import batched_nms


@dataclass
class Pairs:
    """The best pairs of point and class: points, labels, scores, each [B, k], best first."""

    points: Tensor
    labels: Tensor
    scores: Tensor


@dataclass
class Candidates:
    """Boxes [B, k, 4] in resized pixels, scores, class scores (without centerness or objectness),
    labels, valid [B, k], all of one pyramid level."""

    boxes: Tensor
    scores: Tensor
    class_scores: Tensor
    labels: Tensor
    valid: Tensor
    level: int


@dataclass
class DenseDetections:
    """Detections of B images, and the class score of each slot [B, D]."""

    detections: BatchDetections
    class_scores: Tensor


def joined(levels: Sequence, *names: str) -> list[Tensor]:
    """The named tensors [B, ...] of every level, put together along their second axis."""
    return [torch.cat([getattr(level, name) for level in levels], dim=1) for name in names]


def best_pairs(scores: Tensor, count: int) -> Pairs:
    """The `count` best pairs (all, if there are fewer) of class scores [B, P, C] in 0..1."""
    num_classes = scores.shape[-1]
    flat = scores.flatten(1)
    best, pairs = flat.topk(min(count, flat.shape[1]), dim=1)
    points = torch.div(pairs, num_classes, rounding_mode='floor')
    return Pairs(points=points, labels=pairs % num_classes, scores=best)


def suppress(
    parts: Sequence[Candidates], iou_threshold: float, max_per_img: int
) -> DenseDetections:
    """Non-maximum suppression by class over the candidates of all levels; keeps their level."""
    names = ('boxes', 'scores', 'class_scores', 'labels', 'valid')
    boxes, scores, class_scores, labels, valid = joined(parts, *names)
    levels = torch.cat([torch.full_like(part.labels, part.level) for part in parts], dim=1)
    rows, kept = batched_nms(boxes, scores, valid, labels, iou_threshold, max_per_img)
    detections = BatchDetections(
        boxes=boxes.gather(1, rows[..., None].expand(-1, -1, 4)),
        scores=scores.gather(1, rows),
        labels=labels.gather(1, rows),
        valid=kept,
        levels=levels.gather(1, rows),
    )
    return DenseDetections(detections, class_scores.gather(1, rows))
