"""YOLOX head (arXiv 2107.08430): class, box and objectness of every cell, no anchors.

Shapes: B images, L levels, P points of all levels that are run, C classes, K objects of an image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.backbones.csp_layers import conv_bn_swish
from mmdet.models.batch import GroundTruth
from mmdet.models.config import settings
from mmdet.models.dense_heads.candidates import Candidates, DenseDetections, joined, suppress
from mmdet.models.dense_heads.points import grid_points, level_points
from mmdet.models.losses.dense_losses import divisor, iou_of_pairs
from mmdet.models.task_modules.sim_ota import Assignment
from mmdet.registry import MODELS, TASK_UTILS

PRIOR_PROBABILITY = 0.01  # of every class and of objectness, before training
BOX_WEIGHT = 5.0
Feats = Sequence[Tensor]


@dataclass
class YOLOXOutputs:
    """One level of B images, row by row: class logits [B, H * W, C], raw boxes [B, H * W, 4]
    (shift of the centre from the cell's corner and logarithm of the size, in strides), objectness
    logits [B, H * W]; boxes [B, H * W, 4] decoded, in pixels."""

    logits: Tensor
    raw: Tensor
    objectness: Tensor
    boxes: Tensor


@MODELS.register_module()
class YOLOXHead(nn.Module):
    """Towers and outputs of their own for every level.

    `float32_layers` decide boxes and scores: they keep float32 where the others have a smaller one.

    Args:
        num_classes, stacked_convs, strides, normalizer: as of `FCOSHead`.
        train_cfg: `assigner`, a `SimOTAAssigner`.
        test_cfg: `score_thr` (class times objectness, at least), `nms`, `max_per_img`.

    Attributes:
        use_l1: add the L1 loss of raw boxes, which training does in its last epochs.
    """

    float32_layers = ('multi_level_conv_cls', 'multi_level_conv_reg', 'multi_level_conv_obj')

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        stacked_convs: int = 2,
        strides: Sequence[int] = (8, 16, 32),
        normalizer: str = 'image',
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.strides = tuple(strides)
        self.normalizer = normalizer
        self.use_l1 = False
        levels = len(self.strides)

        def per_level(make) -> nn.ModuleList:
            return nn.ModuleList(make() for _ in range(levels))

        def tower() -> nn.Sequential:
            channels = [in_channels, *[feat_channels] * stacked_convs]
            return nn.Sequential(*(conv_bn_swish(a, b, 3) for a, b in pairwise(channels)))

        self.multi_level_cls_convs = per_level(tower)
        self.multi_level_reg_convs = per_level(tower)
        self.multi_level_conv_cls = per_level(lambda: nn.Conv2d(feat_channels, num_classes, 1))
        self.multi_level_conv_reg = per_level(lambda: nn.Conv2d(feat_channels, 4, 1))
        self.multi_level_conv_obj = per_level(lambda: nn.Conv2d(feat_channels, 1, 1))
        for conv in (*self.multi_level_conv_cls, *self.multi_level_conv_obj):
            nn.init.constant_(conv.bias, -math.log(1 / PRIOR_PROBABILITY - 1))
        if train_cfg:
            cfg = settings(train_cfg, 'train_cfg', 'assigner')
            self.assigner = TASK_UTILS.build(cfg['assigner'])
        if test_cfg is not None:
            self.test_cfg = settings(test_cfg, 'test_cfg', 'score_thr', 'nms', 'max_per_img')

    def forward(
        self, feats: Feats, cls_feats: Feats | None = None, levels: Sequence[int] | None = None
    ) -> list[YOLOXOutputs]:
        """Outputs per level of `levels` (None: all); arguments as of `FCOSHead`."""
        chosen = range(len(self.strides)) if levels is None else levels
        cls_feats = feats if cls_feats is None else cls_feats
        return [self._level(feats[i], cls_feats[i], i) for i in chosen]

    def _level(self, x: Tensor, cls_x: Tensor, level: int) -> YOLOXOutputs:
        dtype = self.multi_level_conv_cls[level].weight.dtype  # the last layers may keep float32
        cls_x = self.multi_level_cls_convs[level](cls_x).to(dtype)
        reg_x = self.multi_level_reg_convs[level](x).to(dtype)
        raw = self.multi_level_conv_reg[level](reg_x).flatten(2).transpose(1, 2).float()
        stride = self.strides[level]
        corners = grid_points(x.shape[-2:], stride, x.device) - stride / 2
        centre, half = corners + raw[..., :2] * stride, raw[..., 2:].exp() * (stride / 2)
        return YOLOXOutputs(
            logits=self.multi_level_conv_cls[level](cls_x).flatten(2).transpose(1, 2).float(),
            raw=raw,
            objectness=self.multi_level_conv_obj[level](reg_x).flatten(1).float(),
            boxes=torch.cat([centre - half, centre + half], dim=-1),
        )

    def losses(
        self, feats: Feats, gt: GroundTruth, img_shapes: Tensor, cls_feats: Feats | None = None
    ) -> dict[str, Tensor]:
        """`loss_cls`, `loss_bbox`, `loss_obj`, and `loss_l1` where it is used."""
        outputs = self(feats, cls_feats)
        logits, raw, objectness, boxes = joined(outputs, 'logits', 'raw', 'objectness', 'boxes')
        points, strides = self._points(feats)
        scores = logits.detach().sigmoid() * objectness.detach().sigmoid()[..., None]
        assigned = self.assigner.assign(scores, boxes.detach(), points, strides, gt)
        num_pos = divisor(assigned.positive.sum(1), 1.0, self.normalizer)
        wanted, labels = _objects_of(assigned, gt, self.num_classes)
        classes = torch.arange(self.num_classes, device=labels.device)
        target = (labels[..., None] == classes) * assigned.ious[..., None]
        bce = F.binary_cross_entropy_with_logits
        cls = bce(logits, target, reduction='none').sum(-1) * assigned.positive
        obj = bce(objectness, assigned.positive.float(), reduction='none')
        ious = iou_of_pairs(torch.where(assigned.positive[..., None], boxes, wanted), wanted)
        losses = dict(
            loss_cls=cls, loss_bbox=BOX_WEIGHT * (1 - ious**2) * assigned.positive, loss_obj=obj
        )
        if self.use_l1:
            l1 = (raw - _raw_of(wanted, points, strides)).abs().sum(-1)
            losses['loss_l1'] = torch.where(assigned.positive, l1, 0.0)
        return {name: (loss.sum(1) / num_pos).mean() for name, loss in losses.items()}

    def _points(self, feats: Feats) -> tuple[Tensor, Tensor]:
        """Centres of the cells [P, 2] and their strides [P]."""
        points = level_points(feats, self.strides)
        strides = [p.new_full((len(p),), s) for p, s in zip(points, self.strides, strict=True)]
        return torch.cat(points), torch.cat(strides)

    def find(
        self,
        feats: Feats,
        img_shapes: Tensor,
        cls_feats: Feats | None = None,
        levels: Sequence[int] | None = None,
    ) -> DenseDetections:
        """Detections of B images [B, max_per_img]; each cell has its best class only."""
        chosen = range(len(self.strides)) if levels is None else levels
        parts = []
        for out, level in zip(self(feats, cls_feats, levels), chosen, strict=True):
            best, labels = out.logits.sigmoid().max(-1)
            scores = best * out.objectness.sigmoid()
            valid = scores >= self.test_cfg['score_thr']
            parts.append(Candidates(out.boxes, scores, best, labels, valid, level))
        return suppress(parts, self.test_cfg['nms']['iou_threshold'], self.test_cfg['max_per_img'])


def _objects_of(assigned: Assignment, gt: GroundTruth, num_classes: int) -> tuple[Tensor, Tensor]:
    """Box [B, P, 4] and label [B, P] of each point's object; a unit box, `num_classes` for none."""
    boxes = gt.boxes.gather(1, assigned.objects[..., None].expand(-1, -1, 4))
    labels = gt.labels.gather(1, assigned.objects)
    unit = (torch.arange(4, device=boxes.device) // 2).to(boxes.dtype)
    return (
        torch.where(assigned.positive[..., None], boxes, unit),
        torch.where(assigned.positive, labels, num_classes),
    )


def _raw_of(boxes: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Raw boxes [B, P, 4] that would decode to `boxes` [B, P, 4]."""
    strides = strides[:, None]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    sizes = (boxes[..., 2:] - boxes[..., :2]) / strides
    return torch.cat([(centre - points) / strides + 0.5, (sizes + 1e-8).log()], dim=-1)
