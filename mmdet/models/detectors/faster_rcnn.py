"""Faster R-CNN (arXiv 1506.01497): sees one frame, knows nothing of videos."""

import torch
from torch import Tensor

from mmdet.models.batch import GroundTruth
from mmdet.models.config import settings
from mmdet.models.dense_heads.rpn_head import Proposals, proposal_settings
from mmdet.models.detections import BatchDetections
from mmdet.models.detectors.base import Detector, Maps
from mmdet.registry import MODELS


@MODELS.register_module()
class FasterRCNN(Detector):
    """Backbone, neck, region proposals, region classification.

    Args:
        train_cfg: `rpn` (targets), `rpn_proposal` (proposals of the frame trained on), `rcnn`.
        test_cfg: `rpn` (proposals in testing, and of reference frames), `rcnn`.
    """

    def __init__(
        self,
        backbone: dict,
        rpn_head: dict,
        roi_head: dict,
        test_cfg: dict,
        neck: dict | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        test_cfg = settings(test_cfg, 'test_cfg', 'rpn', 'rcnn')
        self.test_proposals = proposal_settings(test_cfg['rpn'], 'test_cfg.rpn')
        train: dict = {'rpn': None, 'rcnn': None}
        if train_cfg is not None:
            train = settings(train_cfg, 'train_cfg', 'rpn', 'rpn_proposal', 'rcnn')
            proposals = train['rpn_proposal']
            self.train_proposals = proposal_settings(proposals, 'train_cfg.rpn_proposal')
        build = MODELS.build
        self.backbone = build(backbone)
        self.neck = build(neck) if neck is not None else None
        self.rpn_head = build(dict(rpn_head, train_cfg=train['rpn']))
        self.roi_head = build(dict(roi_head, train_cfg=train['rcnn'], test_cfg=test_cfg['rcnn']))

    def losses(self, feats: Maps, gt: GroundTruth, img_shapes: Tensor) -> dict[str, Tensor]:
        losses, proposals = self.rpn_losses(feats, gt, img_shapes)
        return losses | self.roi_head.loss(feats, proposals, gt)

    def rpn_losses(
        self, feats: Maps, gt: GroundTruth, img_shapes: Tensor
    ) -> tuple[dict[str, Tensor], Proposals]:
        """Losses of the proposal network, and the proposals that the second stage trains on."""
        anchors = self.rpn_head.anchors(feats)
        logits, deltas = self.rpn_head(feats)
        losses = self.rpn_head.loss(logits, deltas, anchors, gt, img_shapes)
        proposals = self.rpn_head.propose(logits, deltas, anchors, img_shapes, self.train_proposals)
        return losses, proposals

    @torch.no_grad()
    def propose(self, feats: Maps, img_shapes: Tensor) -> Proposals:
        """Proposals of every image with the settings of testing, best first."""
        logits, deltas = self.rpn_head(feats)
        anchors = self.rpn_head.anchors(feats)
        return self.rpn_head.propose(logits, deltas, anchors, img_shapes, self.test_proposals)

    def detect(self, feats: Maps, img_shapes: Tensor) -> BatchDetections:
        proposals = self.propose(feats, img_shapes)
        roi_feats = self.roi_head.roi_feats(feats, proposals.boxes)
        logits, deltas, _ = self.roi_head.bbox_head.classify(roi_feats)
        return self.roi_head.detections(logits, deltas, proposals, img_shapes)
