"""CenterNet head (arXiv 1904.07850): objects are peaks of a heatmap, without any suppression.

Shapes: B images, C classes, h, w the size of the one map, D detections of an image.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth
from mmdet.models.config import settings
from mmdet.models.dense_heads.candidates import DenseDetections, best_pairs
from mmdet.models.dense_heads.centernet_targets import CenterTargets, center_targets
from mmdet.models.detections import BatchDetections
from mmdet.models.losses.dense_losses import divisor, gaussian_focal_loss
from mmdet.registry import MODELS

PRIOR_PROBABILITY = 0.1  # of every class in every cell, before training
SIZE_WEIGHT = 0.1
Feats = Sequence[Tensor]


@MODELS.register_module()
class CenterNetHead(nn.Module):
    """A heatmap per class, and per cell the size of an object and where its centre lies in the
    cell; both of the latter in cells.

    `float32_layers` decide boxes and scores: they keep float32 where the others have a smaller one.

    Args:
        strides: of the one map.
        normalizer: as of `FCOSHead`.
        test_cfg: `score_thr` (above which a peak counts) and `max_per_img`.
    """

    float32_layers = ('heatmap_out', 'wh_out', 'offset_out')

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 64,
        feat_channels: int = 64,
        strides: Sequence[int] = (4,),
        normalizer: str = 'image',
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.strides = tuple(strides)
        self.normalizer = normalizer
        self.heatmap_head = _branch(in_channels, feat_channels, num_classes)
        self.wh_head = _branch(in_channels, feat_channels, 2)
        self.offset_head = _branch(in_channels, feat_channels, 2)
        self._random_init()
        settings(train_cfg or {}, 'train_cfg')
        if test_cfg is not None:
            self.test_cfg = settings(test_cfg, 'test_cfg', 'score_thr', 'max_per_img')

    @property
    def heatmap_out(self) -> nn.Conv2d:
        return self.heatmap_head[2]

    @property
    def wh_out(self) -> nn.Conv2d:
        return self.wh_head[2]

    @property
    def offset_out(self) -> nn.Conv2d:
        return self.offset_head[2]

    def _random_init(self) -> None:
        nn.init.constant_(self.heatmap_out.bias, -math.log(1 / PRIOR_PROBABILITY - 1))
        for branch in (self.wh_head, self.offset_head):
            for conv in (branch[0], branch[2]):
                nn.init.normal_(conv.weight, std=0.001)
                nn.init.zeros_(conv.bias)

    def forward(
        self, feats: Feats, cls_feats: Feats | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits [B, C, h, w], sizes and offsets [B, 2, h, w]; arguments as of `FCOSHead`."""
        (x,), (cls_x,) = feats, feats if cls_feats is None else cls_feats
        return _run(self.heatmap_head, cls_x), _run(self.wh_head, x), _run(self.offset_head, x)

    def losses(
        self, feats: Feats, gt: GroundTruth, img_shapes: Tensor, cls_feats: Feats | None = None
    ) -> dict[str, Tensor]:
        """`loss_heatmap`, `loss_wh`, `loss_offset`."""
        heatmap, sizes, offsets = self(feats, cls_feats)
        wanted = center_targets(gt, heatmap.shape[-2:], self.strides[0], self.num_classes)
        peaks = divisor((wanted.heatmap == 1).sum((1, 2, 3)), 1.0, self.normalizer)
        focal = gaussian_focal_loss(heatmap, wanted.heatmap).sum((1, 2, 3))
        size_loss = _distance(sizes, wanted.sizes, wanted)
        offset_loss = _distance(offsets, wanted.offsets, wanted)
        return dict(
            loss_heatmap=(focal / peaks).mean(),
            loss_wh=SIZE_WEIGHT * (size_loss / (2 * peaks)).mean(),
            loss_offset=(offset_loss / (2 * peaks)).mean(),
        )

    def find(
        self,
        feats: Feats,
        img_shapes: Tensor,
        cls_feats: Feats | None = None,
        levels: Sequence[int] | None = None,
    ) -> DenseDetections:
        """The best peaks of B images [B, max_per_img]; there is one level, which always runs."""
        heatmap, sizes, offsets = self(feats, cls_feats)
        scores = heatmap.sigmoid()
        peaks = scores * (F.max_pool2d(scores, 3, stride=1, padding=1) == scores)
        pairs = best_pairs(peaks.flatten(2).transpose(1, 2), self.test_cfg['max_per_img'])
        width = heatmap.shape[-1]
        cells = torch.stack([pairs.points % width, pairs.points // width], dim=-1)
        centre = cells + _at(offsets, pairs.points)
        half = _at(sizes, pairs.points) / 2
        boxes = torch.cat([centre - half, centre + half], dim=-1) * self.strides[0]
        detections = BatchDetections(
            boxes=boxes,
            scores=pairs.scores,
            labels=pairs.labels,
            valid=pairs.scores > self.test_cfg['score_thr'],
            levels=torch.zeros_like(pairs.labels),
        )
        return DenseDetections(detections, pairs.scores)


def _branch(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, out_channels, 1),
    )


def _run(branch: nn.Sequential, x: Tensor) -> Tensor:
    """Float32 outputs; the last layer may keep float32 itself."""
    return branch[2](branch[1](branch[0](x)).to(branch[2].weight.dtype)).float()


def _at(x: Tensor, cells: Tensor) -> Tensor:
    """Values [B, K, 2] of maps [B, 2, h, w] in cells [B, K]."""
    return x.flatten(2).transpose(1, 2).gather(1, cells[..., None].expand(-1, -1, 2))


def _distance(found: Tensor, wanted: Tensor, targets: CenterTargets) -> Tensor:
    """Sum [B] of absolute differences at the objects that are learnt."""
    difference = (_at(found, targets.cells) - wanted).abs().sum(-1)
    return (difference * targets.learnt).sum(1)
