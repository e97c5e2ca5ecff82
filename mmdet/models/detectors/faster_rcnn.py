"""Faster R-CNN (arXiv 1506.01497): sees one frame, knows nothing of videos."""

from torch import Tensor

from mmdet.models.base import BaseVideoDetector, VideoState
from mmdet.models.batch import ClipBatch, GroundTruth
from mmdet.models.config import settings
from mmdet.models.dense_heads.rpn_head import proposal_settings
from mmdet.registry import MODELS
from mmdet.structures import Detections

Feats = tuple[Tensor, ...]
Shapes = list[tuple[int, int]]


@MODELS.register_module()
class FasterRCNN(BaseVideoDetector):
    """Backbone, neck, region proposals, region classification.

    It is a complete single-frame model, and the `detector` inside the video models.

    Args:
        backbone, neck, rpn_head, roi_head: configs of the parts.
        train_cfg: `rpn` (targets), `rpn_proposal` (proposals of the frame trained on), `rcnn`.
        test_cfg: `rpn` (proposals in testing, and of reference frames), `rcnn`.
        data_preprocessor: config; not needed inside a video model.
    """

    together = True

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
            where = 'train_cfg.rpn_proposal'
            self.train_proposals = proposal_settings(train['rpn_proposal'], where)
        build = MODELS.build
        self.backbone = build(backbone)
        self.neck = build(neck) if neck is not None else None
        self.rpn_head = build(dict(rpn_head, train_cfg=train['rpn']))
        self.roi_head = build(dict(roi_head, train_cfg=train['rcnn'], test_cfg=test_cfg['rcnn']))

    def extract_feat(self, images: Tensor) -> Feats:
        """Maps of [N, 3, H, W], per level [N, C, H / stride, W / stride]."""
        feats = self.backbone(images)
        return self.neck(feats) if self.neck is not None else feats

    def rpn_loss(
        self, feats: Feats, gts: list[GroundTruth], img_shapes: Shapes
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Losses of the proposal network, and the proposals that the second stage trains on."""
        anchors = self.rpn_head.anchors(feats)
        logits, deltas = self.rpn_head(feats)
        losses = self.rpn_head.loss(logits, deltas, anchors, gts, img_shapes)
        proposals = self.rpn_head.propose(logits, deltas, anchors, img_shapes, self.train_proposals)
        return losses, proposals

    def propose(self, feats: Feats, img_shapes: Shapes) -> list[Tensor]:
        """Proposals [P, 5] of every image with the settings of testing, best first."""
        logits, deltas = self.rpn_head(feats)
        anchors = self.rpn_head.anchors(feats)
        return self.rpn_head.propose(logits, deltas, anchors, img_shapes, self.test_proposals)

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        return self.loss_of(self.extract_feat(batch.key_images), batch)

    def loss_of(self, feats: Feats, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses of the key frames, given their maps."""
        img_shapes = [clip.key.img_shape for clip in batch.clips]
        losses, proposals = self.rpn_loss(feats, batch.gts, img_shapes)
        return losses | self.roi_head.loss(feats, proposals, batch.gts)

    def predict(self, batch: ClipBatch, states: list[VideoState]) -> list[Detections]:
        return self.predict_from(self.extract_feat(batch.key_images), batch)

    def predict_from(self, feats: Feats, batch: ClipBatch) -> list[Detections]:
        """Detections of the key frames, given their maps."""
        frames = [clip.key for clip in batch.clips]
        proposals = self.propose(feats, [frame.img_shape for frame in frames])
        return self.roi_head.predict(feats, proposals, frames)
