"""Classifier and box regressor of regions.

Shapes: B images, P regions of an image, C channels, F width of the shared layers, K foreground
classes; label K is the background.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.registry import MODELS, TASK_UTILS


@dataclass
class Keys:
    """What the regions of B frames see of other frames: projected references [B, M, ...] for each
    shared layer, and which of them exist [B, M] (None: all)."""

    layers: list[Tensor]
    valid: Tensor | None = None


@MODELS.register_module()
class Shared2FCBBoxHead(nn.Module):
    """Two fully connected layers, then class logits [K + 1] and offsets [K * 4] per class.

    Args:
        in_channels, roi_feat_size: C and S of the region features [C, S, S].
        fc_out_channels, num_shared_fcs: width and number of the layers.
    """

    float32_layers = ('fc_cls', 'fc_reg', 'bbox_coder')  # they decide scores and boxes

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        fc_out_channels: int = 1024,
        roi_feat_size: int = 7,
        num_shared_fcs: int = 2,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.bbox_coder = TASK_UTILS.build(bbox_coder)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        widths = [in_channels * roi_feat_size**2] + [fc_out_channels] * num_shared_fcs
        self.shared_fcs = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.fc_cls = nn.Linear(fc_out_channels, num_classes + 1)
        self.fc_reg = nn.Linear(fc_out_channels, num_classes * 4)
        for fc in self.shared_fcs:
            nn.init.xavier_uniform_(fc.weight)
            nn.init.zeros_(fc.bias)
        for fc, std in ((self.fc_cls, 0.01), (self.fc_reg, 0.001)):
            nn.init.normal_(fc.weight, std=std)
            nn.init.zeros_(fc.bias)

    def first_layer(self, pooled: Tensor) -> Tensor:
        """RoI features [B, P, F], before the ReLU, of pooled maps [B, P, C, S, S]."""
        first = self.shared_fcs[0]
        return first(pooled.flatten(2).to(first.weight.dtype))

    def classify(
        self, roi_feats: Tensor, keys: Keys | None = None, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits [B, P, K + 1], offsets [B, P, K * 4], both float32, of RoI features [B, P, F];
        and those of every layer before its ReLU, [B, P, F] each, enhanced.

        Args:
            keys: what `enhance` mixes in.
            boxes: [B, P, 4], for heads that relate regions by where they lie.
        """
        layers = []
        for i, fc in enumerate(self.shared_fcs):
            roi_feats = self.enhance(i, roi_feats if i == 0 else fc(F.relu(roi_feats)), keys)
            layers.append(roi_feats)
        roi_feats = F.relu(roi_feats).to(self.fc_cls.weight.dtype)
        return self.fc_cls(roi_feats).float(), self.fc_reg(roi_feats).float(), layers

    def enhance(self, layer: int, roi_feats: Tensor, keys: Keys | None) -> Tensor:
        """What a video head does to features before a layer's ReLU; a single frame has nothing."""
        return roi_feats

    def loss(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Weighted sums over the sampled regions of B images, S slots each.

        Args:
            labels: [B, S], K for the background.
            targets: [B, S, 4] offsets of the regions that are not background.
            weights: [B, S], one over the number of regions of the image and over the images; 0 for
                empty slots.
        """
        positive = labels < self.num_classes
        own = labels.clamp(max=self.num_classes - 1)[..., None, None].expand(-1, -1, 1, 4)
        own = deltas.unflatten(2, (-1, 4)).gather(2, own)[:, :, 0]
        right = (logits.argmax(dim=2) == labels) & (weights > 0)
        return dict(
            loss_cls=self.loss_cls(logits.flatten(0, 1), labels.flatten(), weights.flatten()),
            loss_bbox=self.loss_bbox(
                own.flatten(0, 1), targets.flatten(0, 1), (weights * positive).flatten()
            ),
            acc=right.sum() / (weights > 0).sum().clamp(min=1) * 100,
        )

    def decode(
        self, logits: Tensor, deltas: Tensor, boxes: Tensor, img_shapes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Probabilities [B, P, K] and boxes [B, P, K, 4] of regions [B, P, 4], clipped."""
        scores = torch.softmax(logits, dim=2)[..., : self.num_classes]
        return scores, self.bbox_coder.decode(boxes, deltas, img_shapes)
