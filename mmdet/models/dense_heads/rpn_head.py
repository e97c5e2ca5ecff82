"""Region proposal network (Faster R-CNN, arXiv 1506.01497, section 3.1).

Shapes: N images, L levels, A anchors per cell, P proposals of an image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth
from mmdet.models.config import settings
from mmdet.models.task_modules import batched_nms
from mmdet.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class RPNHead(nn.Module):
    """A 3x3 convolution, then an objectness logit and four offsets per anchor, shared by levels.

    Args:
        in_channels, feat_channels: of the input maps and of the hidden map.
        anchor_generator, bbox_coder, loss_cls, loss_bbox: configs of the parts.
        train_cfg: `assigner`, `sampler`, `allowed_border` (anchors further outside the image are
            not trained; -1 trains all).
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int,
        anchor_generator: dict,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        train_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.anchor_generator = TASK_UTILS.build(anchor_generator)
        self.bbox_coder = TASK_UTILS.build(bbox_coder)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        num_anchors = self.anchor_generator.num_base_anchors
        self.rpn_conv = nn.Conv2d(in_channels, feat_channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(feat_channels, num_anchors, 1)
        self.rpn_reg = nn.Conv2d(feat_channels, num_anchors * 4, 1)
        for conv in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
        if train_cfg is not None:
            cfg = settings(
                train_cfg, 'train_cfg.rpn', 'assigner', 'sampler', allowed_border=0,
                pos_weight=-1, debug=False,
            )  # fmt: skip
            self.assigner = TASK_UTILS.build(cfg['assigner'])
            self.sampler = TASK_UTILS.build(cfg['sampler'])
            self.allowed_border = cfg['allowed_border']

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level: logits [N, H * W * A] and offsets [N, H * W * A, 4], in anchor order."""
        logits, deltas = [], []
        for x in feats:
            x = F.relu(self.rpn_conv(x), inplace=True)
            n = len(x)
            logits.append(self.rpn_cls(x).permute(0, 2, 3, 1).reshape(n, -1).float())
            deltas.append(self.rpn_reg(x).permute(0, 2, 3, 1).reshape(n, -1, 4).float())
        return logits, deltas

    def anchors(self, feats: tuple[Tensor, ...]) -> list[Tensor]:
        """Anchors of the maps, per level [H * W * A, 4]."""
        sizes = [tuple(x.shape[-2:]) for x in feats]
        return self.anchor_generator.grid_anchors(sizes, feats[0].device)

    def loss(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        gts: list[GroundTruth],
        img_shapes: list[tuple[int, int]],
    ) -> dict[str, Tensor]:
        """Mean over images of each image's loss; an image's divisor is its sampled anchors."""
        logits_all, deltas_all = torch.cat(logits, dim=1), torch.cat(deltas, dim=1)
        anchors_all = torch.cat(anchors)
        cls = bbox = 0.0
        for i, (gt, img_shape) in enumerate(zip(gts, img_shapes, strict=True)):
            pos, neg, targets = self.targets(anchors_all, gt.boxes, img_shape)
            num = max(len(pos), 1) + max(len(neg), 1)  # as in 1.x, each counts at least once
            weight = 1 / (num * len(gts))
            chosen = torch.cat([pos, neg])
            is_object = torch.arange(len(chosen), device=chosen.device) < len(pos)
            weights = deltas_all.new_full((len(chosen),), weight)
            cls = cls + self.loss_cls(logits_all[i, chosen], is_object, weights)
            bbox = bbox + self.loss_bbox(deltas_all[i, pos], targets, weights[: len(pos)])
        return dict(loss_rpn_cls=cls, loss_rpn_bbox=bbox)

    @torch.no_grad()
    def targets(
        self, anchors: Tensor, gt_boxes: Tensor, img_shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of the sampled positive and negative anchors, offsets [n_pos, 4] to regress."""
        inside = self._inside(anchors, img_shape).nonzero().flatten()
        assigned = self.assigner.assign(anchors[inside], gt_boxes)
        pos, neg = self.sampler.choose(assigned)
        matched = gt_boxes[assigned[pos] - 1]
        targets = self.bbox_coder.encode(anchors[inside[pos]], matched)
        return inside[pos], inside[neg], targets

    def _inside(self, anchors: Tensor, img_shape: tuple[int, int]) -> Tensor:
        if self.allowed_border < 0:
            return torch.ones(len(anchors), dtype=torch.bool, device=anchors.device)
        height, width = img_shape
        border = self.allowed_border
        low = (anchors[:, :2] >= -border).all(dim=1)
        return low & (anchors[:, 2] < width + border) & (anchors[:, 3] < height + border)

    @torch.no_grad()
    def propose(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        img_shapes: list[tuple[int, int]],
        cfg: dict,
    ) -> list[Tensor]:
        """Proposals of every image, [P, 5] `x1, y1, x2, y2, score`, best first, without gradient.

        Args:
            img_shapes: (height, width) before padding, to which boxes are clipped.
            cfg: `nms_pre` per level, `max_per_img`, `nms.iou_threshold`, `min_bbox_size`.
        """
        return [
            self._propose_one([x[i] for x in logits], [x[i] for x in deltas], anchors, shape, cfg)
            for i, shape in enumerate(img_shapes)
        ]

    def _propose_one(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        img_shape: tuple[int, int],
        cfg: dict,
    ) -> Tensor:
        chosen = []
        for level, (logit, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            score = logit.sigmoid()
            if len(score) > cfg['nms_pre']:
                score, order = score.sort(descending=True)
                order = order[: cfg['nms_pre']]
                score, delta, anchor = score[: cfg['nms_pre']], delta[order], anchor[order]
            chosen.append((score, delta, anchor, torch.full_like(score, level, dtype=torch.long)))
        scores, delta, anchor, levels = (torch.cat(parts) for parts in zip(*chosen, strict=True))
        boxes = self.bbox_coder.decode(anchor, delta, img_shape)[:, 0]
        sides = boxes[:, 2:] - boxes[:, :2]
        valid = (sides > cfg['min_bbox_size']).all(dim=1)
        boxes, scores, levels = boxes[valid], scores[valid], levels[valid]
        keep = batched_nms(boxes, scores, levels, cfg['nms']['iou_threshold'])[: cfg['max_per_img']]
        return torch.cat([boxes[keep], scores[keep, None]], dim=1)


def proposal_settings(cfg: dict, where: str) -> dict:
    """Checked settings of `RPNHead.propose`."""
    cfg = settings(cfg, where, 'nms_pre', 'max_per_img', 'nms', min_bbox_size=0)
    settings(cfg['nms'], f'{where}.nms', 'iou_threshold', type='nms')
    return cfg
