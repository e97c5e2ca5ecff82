"""Classifier and box regressor of regions.

Shapes: N regions, C channels, K foreground classes; label K is the background.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class Shared2FCBBoxHead(nn.Module):
    """Two fully connected layers, then class logits [N, K + 1] and offsets [N, K * 4] per class.

    Args:
        in_channels, roi_feat_size: of the region features [N, C, S, S].
        fc_out_channels, num_shared_fcs: width and number of the layers.
        num_classes: K.
        bbox_coder, loss_cls, loss_bbox: configs of the parts.
    """

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

    def forward(self, roi_feats: Tensor, keys: Any = None) -> tuple[Tensor, Tensor]:
        """Region features [N, C, S, S] -> logits [N, K + 1], offsets [N, K * 4], both float32."""
        return self.classify(self.rows(roi_feats), keys)

    def rows(self, roi_feats: Tensor) -> Tensor:
        """First-layer rows [N, fc_out_channels], before the ReLU, of region features."""
        return self.shared_fcs[0](roi_feats.flatten(1))

    def classify(self, rows: Tensor, keys: Any = None) -> tuple[Tensor, Tensor]:
        """Logits and offsets of first-layer rows; `keys` is what `enhance` mixes in."""
        rows = self.enhance(0, rows, keys)
        for i, fc in enumerate(self.shared_fcs[1:], start=1):
            rows = self.enhance(i, fc(F.relu(rows)), keys)
        rows = F.relu(rows)
        return self.fc_cls(rows).float(), self.fc_reg(rows).float()

    def enhance(self, layer: int, rows: Tensor, keys: Any) -> Tensor:
        """What a video head does to a layer's rows before the ReLU; a single frame has nothing."""
        return rows

    def loss(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Weighted sums over the N sampled regions.

        Args:
            labels: [N], K for the background.
            targets: [N_pos, 4] offsets of the regions whose label is not K, in their order.
            weights: [N], one over the number of regions of the image and over the images.
        """
        pos = (labels < self.num_classes).nonzero().flatten()
        own = deltas.view(len(deltas), self.num_classes, 4)[pos, labels[pos]]
        accuracy = (logits.argmax(dim=1) == labels).float().mean() * 100
        return dict(
            loss_cls=self.loss_cls(logits, labels, weights),
            loss_bbox=self.loss_bbox(own, targets, weights[pos]),
            acc=accuracy if len(labels) else logits.new_zeros(()),
        )

    def decode(
        self, logits: Tensor, deltas: Tensor, boxes: Tensor, img_shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Probabilities [N, K] and boxes [N, K, 4] of regions `boxes` [N, 4], clipped to (h, w)."""
        scores = torch.softmax(logits, dim=1)[:, : self.num_classes]
        return scores, self.bbox_coder.decode(boxes, deltas, img_shape)
