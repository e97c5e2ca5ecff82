"""Region proposal network (Faster R-CNN, arXiv 1506.01497, section 3.1).

Shapes: B images, A anchors per cell, P proposals of an image, S sampled anchors of an image.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth
from mmdet.models.config import nms_settings, settings, training_settings
from mmdet.models.task_modules import Samples, batched_nms
from mmdet.registry import MODELS, TASK_UTILS


@dataclass
class Proposals:
    """Proposals of B images, best first: boxes [B, P, 4] in resized pixels, scores [B, P] in 0..1,
    and which of them exist [B, P]. Empty slots are all zero."""

    boxes: Tensor
    scores: Tensor
    valid: Tensor

    def best(self, count: int | None) -> 'Proposals':
        """The first `count` of every image; all for None."""
        return Proposals(self.boxes[:, :count], self.scores[:, :count], self.valid[:, :count])


@MODELS.register_module()
class RPNHead(nn.Module):
    """A 3x3 convolution, then an objectness logit and four offsets per anchor, shared by levels.

    Args:
        train_cfg: `assigner`, `sampler`, `allowed_border` (anchors further outside the image are
            not trained; -1 trains all).
        maps: numbers of the neck's maps that it sees; None: all.
    """

    # they decide scores and boxes
    float32_layers = ('rpn_cls', 'rpn_reg', 'bbox_coder', 'anchor_generator')

    def __init__(
        self,
        in_channels: int,
        feat_channels: int,
        anchor_generator: dict,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        train_cfg: dict | None = None,
        maps: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.maps = maps
        self.anchor_generator = TASK_UTILS.build(anchor_generator)
        self.bbox_coder = TASK_UTILS.build(bbox_coder)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        num_anchors = len(self.anchor_generator.base_anchors[0])
        self.rpn_conv = nn.Conv2d(in_channels, feat_channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(feat_channels, num_anchors, 1)
        self.rpn_reg = nn.Conv2d(feat_channels, num_anchors * 4, 1)
        for conv in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
        if train_cfg is not None:
            cfg = training_settings(train_cfg, 'train_cfg.rpn', allowed_border=0)
            self.assigner = TASK_UTILS.build(cfg['assigner'])
            self.sampler = TASK_UTILS.build(cfg['sampler'])
            self.allowed_border = cfg['allowed_border']

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level: logits [B, H * W * A] and offsets [B, H * W * A, 4], in anchor order, float32.

        The two layers that decide are float32 also where the others are not.
        """
        logits, deltas = [], []
        for x in self._own(feats):
            x = F.relu(self.rpn_conv(x), inplace=True).to(self.rpn_cls.weight.dtype)
            logits.append(self.rpn_cls(x).permute(0, 2, 3, 1).flatten(1).float())
            offsets = self.rpn_reg(x).permute(0, 2, 3, 1)
            deltas.append(offsets.reshape(len(x), -1, 4).float())
        return logits, deltas

    def anchors(self, feats: tuple[Tensor, ...]) -> list[Tensor]:
        """Per level [H * W * A, 4]."""
        return self.anchor_generator.grid_anchors([tuple(x.shape[-2:]) for x in self._own(feats)])

    def _own(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return feats if self.maps is None else tuple(feats[i] for i in self.maps)

    def loss(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        gt: GroundTruth,
        img_shapes: Tensor,
    ) -> dict[str, Tensor]:
        """Mean over images of each image's loss; an image's divisor is its sampled anchors.
        `img_shapes` [B, 2]: (height, width) before padding."""
        samples, targets = self.targets(torch.cat(anchors), gt, img_shapes)
        chosen, positive = samples.indices, samples.positive
        # as in 1.x, positives and negatives each count at least once
        counts = positive.sum(1).clamp(min=1) + (samples.valid & ~positive).sum(1).clamp(min=1)
        weights = samples.valid / (counts[:, None] * len(counts))
        logits = torch.cat(logits, dim=1).gather(1, chosen)
        deltas = torch.cat(deltas, dim=1).gather(1, chosen[..., None].expand(-1, -1, 4))
        return dict(
            loss_rpn_cls=self.loss_cls(logits.flatten(), positive.flatten(), weights.flatten()),
            loss_rpn_bbox=self.loss_bbox(
                deltas.flatten(0, 1), targets.flatten(0, 1), (weights * positive).flatten()
            ),
        )

    @torch.no_grad()
    def targets(
        self, anchors: Tensor, gt: GroundTruth, img_shapes: Tensor
    ) -> tuple[Samples, Tensor]:
        """The sampled anchors of every image, and offsets [B, S, 4] that the positives regress."""
        inside = self._inside(anchors, img_shapes)
        assigned = self.assigner.assign(anchors, inside, gt.boxes, gt.valid)
        samples = self.sampler.choose(assigned)
        matched = matched_boxes(gt.boxes, assigned.gather(1, samples.indices))
        own = anchors[samples.indices]
        matched = torch.where(samples.positive[..., None], matched, own)
        return samples, self.bbox_coder.encode(own, matched)

    def _inside(self, anchors: Tensor, img_shapes: Tensor) -> Tensor:
        """Which anchors [N, 4] are trained in each image: [B, N]."""
        if self.allowed_border < 0:
            return anchors.new_ones(len(img_shapes), len(anchors), dtype=torch.bool)
        border = self.allowed_border
        low = (anchors[:, :2] >= -border).all(dim=1)
        high = anchors[None, :, 2:] < img_shapes.flip(1)[:, None] + border
        return low & high.all(dim=2)

    @torch.no_grad()
    def propose(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        img_shapes: Tensor,
        cfg: dict,
    ) -> Proposals:
        """Proposals of every image, best first, without gradient, clipped to `img_shapes` [B, 2].

        Args:
            cfg: `nms_pre` per level, `max_per_img`, `nms.iou_threshold`, `min_bbox_size`.
        """
        chosen = []
        for level, (logit, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            score, anchor = logit.sigmoid(), anchor.expand(len(logit), -1, -1)
            if score.shape[1] > cfg['nms_pre']:
                score, order = score.topk(cfg['nms_pre'], dim=1)
                order = order[..., None].expand(-1, -1, 4)
                delta, anchor = delta.gather(1, order), anchor.gather(1, order)
            chosen.append((score, delta, anchor, torch.full_like(score, level, dtype=torch.long)))
        scores, delta, anchor, levels = (
            torch.cat(parts, dim=1) for parts in zip(*chosen, strict=True)
        )
        boxes = self.bbox_coder.decode(anchor, delta, img_shapes)[:, :, 0]
        valid = (boxes[..., 2:] - boxes[..., :2] > cfg['min_bbox_size']).all(dim=2)
        nms = cfg['nms']
        indices, used = batched_nms(
            boxes, scores, valid, levels, nms['iou_threshold'], cfg['max_per_img'], nms['legacy']
        )
        boxes = boxes.gather(1, indices[..., None].expand(-1, -1, 4)) * used[..., None]
        return Proposals(boxes, scores.gather(1, indices) * used, used)


def matched_boxes(gt_boxes: Tensor, assigned: Tensor) -> Tensor:
    """The ground-truth box [B, S, 4] of each assigned number [B, S]; for background any."""
    return gt_boxes.gather(1, (assigned - 1).clamp(min=0)[..., None].expand(-1, -1, 4))


def proposal_settings(cfg: dict, where: str) -> dict:
    """Checked settings of `RPNHead.propose`."""
    cfg = settings(cfg, where, 'nms_pre', 'max_per_img', 'nms', min_bbox_size=0)
    return {**cfg, 'nms': nms_settings(cfg['nms'], f'{where}.nms')}
