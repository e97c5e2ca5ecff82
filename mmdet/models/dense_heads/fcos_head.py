"""FCOS head (arXiv 1904.01355): every pixel of every level classifies and regresses on its own.

Shapes: B images, L levels, P points of all levels that are run, C classes, K objects of an image.
A point stands at the centre of its cell; its box is four distances (left, top, right, bottom) in
pixels of the resized image.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth
from mmdet.models.config import settings
from mmdet.models.dense_heads.candidates import (
    Candidates,
    DenseDetections,
    best_pairs,
    joined,
    suppress,
)
from mmdet.models.dense_heads.fcos_targets import centerness_of, distance_ranges, fcos_targets
from mmdet.models.dense_heads.points import cell_centres, level_points
from mmdet.models.losses.dense_losses import divisor, focal_loss, iou_loss_of_distances
from mmdet.registry import MODELS

PRIOR_PROBABILITY = 0.01  # of every class at every point, before training
Feats = Sequence[Tensor]


@dataclass
class FCOSOutputs:
    """One level of B images, H * W points row by row: class logits [B, H * W, C], distances
    [B, H * W, 4] in pixels, centerness logits [B, H * W]."""

    logits: Tensor
    distances: Tensor
    centerness: Tensor


class Scale(nn.Module):
    """A learnt factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@MODELS.register_module()
class FCOSHead(nn.Module):
    """A classification and a regression tower shared by all levels, and three outputs.

    `float32_layers` decide boxes and scores: they keep float32 where the others have a smaller one.

    Args:
        num_classes: without background.
        stacked_convs: convolutions of a tower.
        strides: of the levels, finest first.
        reach: what a level learns, see `distance_ranges`.
        centerness_on_reg: centerness reads the regression tower instead of the other one.
        normalizer: what the losses are divided by, 'image': positives of each image, so that a
            batch gives the mean of its images' losses; 'batch': their mean over the batch and all
            processes, as FCOS was trained (it weighs points equally, not images).
        test_cfg: `nms_pre` per level, `score_thr` (class score, before centerness), `nms`,
            `max_per_img`.
    """

    float32_layers = ('conv_cls', 'conv_reg', 'conv_centerness', 'scales')

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        stacked_convs: int = 4,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        reach: float = 8,
        centerness_on_reg: bool = False,
        normalizer: str = 'image',
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.strides = tuple(strides)
        self.ranges = distance_ranges(strides, reach)
        self.centerness_on_reg = centerness_on_reg
        self.normalizer = normalizer
        self.cls_convs = _tower(in_channels, feat_channels, stacked_convs)
        self.reg_convs = _tower(in_channels, feat_channels, stacked_convs)
        self.conv_cls = nn.Conv2d(feat_channels, num_classes, 3, padding=1)
        self.conv_reg = nn.Conv2d(feat_channels, 4, 3, padding=1)
        self.conv_centerness = nn.Conv2d(feat_channels, 1, 3, padding=1)
        self.scales = nn.ModuleList(Scale() for _ in self.strides)
        self._random_init()
        self.register_load_state_dict_pre_hook(_rename_old)
        settings(train_cfg or {}, 'train_cfg')
        if test_cfg is not None:
            keys = ('nms_pre', 'score_thr', 'nms', 'max_per_img')
            self.test_cfg = settings(test_cfg, 'test_cfg', *keys)

    def _random_init(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 4:
                nn.init.normal_(parameter, std=0.01)
            elif name.endswith('bias'):
                nn.init.zeros_(parameter)
        nn.init.constant_(self.conv_cls.bias, -math.log(1 / PRIOR_PROBABILITY - 1))

    def forward(
        self, feats: Feats, cls_feats: Feats | None = None, levels: Sequence[int] | None = None
    ) -> list[FCOSOutputs]:
        """Outputs per level of `levels` (None: all), in that order, of maps [B, C', H, W];
        `cls_feats`: maps for the classification tower, where they are others."""
        chosen = range(len(self.strides)) if levels is None else levels
        cls_feats = feats if cls_feats is None else cls_feats
        return [self._level(feats[i], cls_feats[i], i) for i in chosen]

    def _level(self, x: Tensor, cls_x: Tensor, level: int) -> FCOSOutputs:
        dtype = self.conv_cls.weight.dtype  # the last layers may keep float32
        cls_x, reg_x = self.cls_convs(cls_x).to(dtype), self.reg_convs(x).to(dtype)
        centerness = self.conv_centerness(reg_x if self.centerness_on_reg else cls_x)
        distances = self.scales[level](self.conv_reg(reg_x)).float().exp()
        return FCOSOutputs(
            logits=self.conv_cls(cls_x).flatten(2).transpose(1, 2).float(),
            distances=distances.flatten(2).transpose(1, 2),
            centerness=centerness.flatten(1).float(),
        )

    def losses(
        self, feats: Feats, gt: GroundTruth, img_shapes: Tensor, cls_feats: Feats | None = None
    ) -> dict[str, Tensor]:
        """`loss_cls`, `loss_bbox`, `loss_centerness`; points of the padding are background."""
        outputs = self(feats, cls_feats)
        logits, distances, centerness = joined(outputs, 'logits', 'distances', 'centerness')
        points = level_points(feats, self.strides)
        labels, wanted = fcos_targets(points, self.ranges, gt, self.num_classes)
        positive = labels < self.num_classes
        target = centerness_of(wanted) * positive
        num_pos = divisor(positive.sum(1), 1.0, self.normalizer)
        cls = focal_loss(logits, labels).sum(dim=(1, 2))
        bbox = (iou_loss_of_distances(distances, wanted, positive) * target).sum(1)
        ctr = F.binary_cross_entropy_with_logits(centerness, target, reduction='none')
        return dict(
            loss_cls=(cls / num_pos).mean(),
            loss_bbox=(bbox / divisor(target.sum(1), 1e-6, self.normalizer)).mean(),
            loss_centerness=((ctr * positive).sum(1) / num_pos).mean(),
        )

    def find(
        self,
        feats: Feats,
        img_shapes: Tensor,
        cls_feats: Feats | None = None,
        levels: Sequence[int] | None = None,
    ) -> DenseDetections:
        """Detections of B images [B, max_per_img], from the points of `levels` (None: all), clipped
        to `img_shapes` [B, 2], (height, width) before padding."""
        chosen = range(len(self.strides)) if levels is None else levels
        outputs = self(feats, cls_feats, levels)
        parts = [
            self._candidates(out, level, feats[level].shape[-1], img_shapes)
            for out, level in zip(outputs, chosen, strict=True)
        ]
        return suppress(parts, self.test_cfg['nms']['iou_threshold'], self.test_cfg['max_per_img'])

    def _candidates(
        self, out: FCOSOutputs, level: int, width: int, img_shapes: Tensor
    ) -> Candidates:
        """The best `nms_pre` pairs of point and class of one level."""
        pairs = best_pairs(out.logits.sigmoid(), self.test_cfg['nms_pre'])
        centres = cell_centres(pairs.points, width, self.strides[level])
        distances = out.distances.gather(1, pairs.points[..., None].expand(-1, -1, 4))
        boxes = torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)
        centerness = out.centerness.gather(1, pairs.points).sigmoid()
        limit = img_shapes.flip(-1).repeat(1, 2)[:, None]  # width, height, width, height
        return Candidates(
            boxes=boxes.clamp(min=0).minimum(limit),
            scores=pairs.scores * centerness,
            class_scores=pairs.scores,
            labels=pairs.labels,
            valid=pairs.scores > self.test_cfg['score_thr'],
            level=level,
        )


def _tower(in_channels: int, channels: int, depth: int) -> nn.Sequential:
    """3x3 convolutions without bias, group norm of 32 groups (fewer of few channels), ReLU."""
    groups = math.gcd(32, channels // 2)  # a group of one channel and one cell has no variance
    layers = []
    for inputs in [in_channels] + [channels] * (depth - 1):
        conv = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        norm, relu = nn.GroupNorm(groups, channels), nn.ReLU(inplace=True)
        layers.append(nn.Sequential(OrderedDict(conv=conv, gn=norm, activate=relu)))
    return nn.Sequential(*layers)


def _rename_old(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Checkpoints of early FCOS have other names for the three outputs."""
    for name in [name for name in state if name.startswith(f'{prefix}fcos_')]:
        state[f'{prefix}conv_{name.removeprefix(f"{prefix}fcos_")}'] = state.pop(name)
