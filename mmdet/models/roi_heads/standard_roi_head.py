"""The second stage: sample or take proposals, classify and refine them (Fast R-CNN).

Shapes: B images, P proposals and S samples of an image.
"""

import torch
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth
from mmdet.models.config import nms_settings, settings, training_settings
from mmdet.models.dense_heads.rpn_head import Proposals, matched_boxes
from mmdet.models.detections import BatchDetections
from mmdet.models.roi_heads.bbox_head import Keys
from mmdet.models.task_modules import batched_nms
from mmdet.models.task_modules.assigner import IGNORED
from mmdet.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class StandardRoIHead(nn.Module):
    """Classifies regions of several images at once.

    Args:
        train_cfg: `assigner` and `sampler`.
        test_cfg: `score_thr`, `nms.iou_threshold`, `max_per_img`.
    """

    def __init__(
        self,
        bbox_roi_extractor: dict,
        bbox_head: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.bbox_roi_extractor = MODELS.build(bbox_roi_extractor)
        self.bbox_head = MODELS.build(bbox_head)
        if train_cfg is not None:
            cfg = training_settings(train_cfg, 'train_cfg.rcnn')
            self.assigner = TASK_UTILS.build(cfg['assigner'])
            self.sampler = TASK_UTILS.build(cfg['sampler'])
        if test_cfg is not None:
            where = 'test_cfg.rcnn'
            self.test_cfg = settings(test_cfg, where, 'nms', score_thr=1e-4, max_per_img=100)
            self.test_cfg['nms'] = nms_settings(self.test_cfg['nms'], f'{where}.nms')

    def roi_feats(self, feats: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """First-layer features [B, P, F] of boxes [B, P, 4] on the maps of B images."""
        return self.bbox_head.first_layer(self.bbox_roi_extractor(feats, boxes))

    def loss(
        self,
        feats: tuple[Tensor, ...],
        proposals: Proposals,
        gt: GroundTruth,
        keys: Keys | None = None,
    ) -> dict[str, Tensor]:
        """Mean over images of each image's loss, an image's divisor being its sampled regions;
        `keys`: for video heads, what the regions mix in."""
        boxes, labels, targets, weights = self.targets(proposals, gt)
        logits, deltas, _ = self.bbox_head.classify(self.roi_feats(feats, boxes), keys, boxes)
        return self.bbox_head.loss(logits, deltas, labels, targets, weights)

    @torch.no_grad()
    def targets(
        self, proposals: Proposals, gt: GroundTruth
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a step learns from: boxes, labels, offsets, weights [B, S, ...] of the samples."""
        boxes, valid = proposals.boxes, proposals.valid
        assigned = self.assigner.assign(boxes, valid, gt.boxes, gt.valid)
        if self.sampler.add_gt_as_proposals:
            boxes = torch.cat([gt.boxes, boxes], dim=1)
            itself = torch.arange(1, gt.boxes.shape[1] + 1, device=boxes.device)
            assigned = torch.cat([torch.where(gt.valid, itself, IGNORED), assigned], dim=1)
        samples = self.sampler.choose(assigned)
        boxes = boxes.gather(1, samples.indices[..., None].expand(-1, -1, 4))
        number = assigned.gather(1, samples.indices)
        labels = gt.labels.gather(1, (number - 1).clamp(min=0))
        labels = torch.where(samples.positive, labels, self.bbox_head.num_classes)
        positive = samples.positive[..., None]
        # where nothing is to be learned the box stands for itself, whatever its size
        own = torch.where(positive, boxes, torch.ones_like(boxes).cumsum(-1))
        matched = torch.where(positive, matched_boxes(gt.boxes, number), own)
        targets = self.bbox_head.bbox_coder.encode(own, matched)
        counts = samples.valid.sum(dim=1, keepdim=True).clamp(min=1)
        weights = samples.valid / (counts * len(counts))
        return boxes * samples.valid[..., None], labels, targets, weights

    def detections(
        self, logits: Tensor, deltas: Tensor, proposals: Proposals, img_shapes: Tensor
    ) -> BatchDetections:
        """Detections of B images, over all classes together."""
        cfg = self.test_cfg
        scores, boxes = self.bbox_head.decode(logits, deltas, proposals.boxes, img_shapes)
        labels = torch.arange(scores.shape[2], device=scores.device).expand_as(scores).flatten(1)
        valid = ((scores > cfg['score_thr']) & proposals.valid[..., None]).flatten(1)
        scores, boxes = scores.flatten(1), boxes.flatten(1, 2)
        count, nms = cfg['max_per_img'], cfg['nms']
        indices, used = batched_nms(
            boxes, scores, valid, labels, nms['iou_threshold'], count, nms['legacy']
        )
        return BatchDetections(
            boxes.gather(1, indices[..., None].expand(-1, -1, 4)),
            scores.gather(1, indices),
            labels.gather(1, indices),
            used,
        )
