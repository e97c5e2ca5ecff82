"""The second stage: sample or take proposals, classify and refine them (Fast R-CNN)."""

import torch
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth
from mmdet.models.config import settings
from mmdet.models.roi_heads.roi_extractor import boxes_to_rois
from mmdet.models.task_modules import Samples, multiclass_nms
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import Detections, Frame


@MODELS.register_module()
class StandardRoIHead(nn.Module):
    """Classifies regions of several images at once.

    `context` is for video heads: per image, what its regions mix in (`bbox_head.enhance`).

    Args:
        bbox_roi_extractor, bbox_head: configs of the parts.
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
            cfg = settings(
                train_cfg, 'train_cfg.rcnn', 'assigner', 'sampler', pos_weight=-1, debug=False
            )
            self.assigner = TASK_UTILS.build(cfg['assigner'])
            self.sampler = TASK_UTILS.build(cfg['sampler'])
        if test_cfg is not None:
            self.test_cfg = settings(
                test_cfg, 'test_cfg.rcnn', 'nms', score_thr=1e-4, max_per_img=100
            )
            settings(self.test_cfg['nms'], 'test_cfg.rcnn.nms', 'iou_threshold', type='nms')

    def bbox_forward(
        self, feats: tuple[Tensor, ...], boxes: list[Tensor], context: list | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits [N, K + 1], offsets [N, K * 4] of `boxes`, a list over the images of `feats`."""
        rows = self.rows(feats, boxes)
        if context is None:
            return self.bbox_head.classify(torch.cat(rows))
        outs = [self.bbox_head.classify(x, keys) for x, keys in zip(rows, context, strict=True)]
        logits, deltas = zip(*outs, strict=True)
        return torch.cat(logits), torch.cat(deltas)

    def rows(self, feats: tuple[Tensor, ...], boxes: list[Tensor]) -> tuple[Tensor, ...]:
        """First-layer rows of every image's boxes, [N_i, fc_out_channels] each."""
        rows = self.bbox_head.rows(self.bbox_roi_extractor(feats, boxes_to_rois(boxes)))
        return rows.split([len(b) for b in boxes])

    def loss(
        self,
        feats: tuple[Tensor, ...],
        proposals: list[Tensor],
        gts: list[GroundTruth],
        context: list | None = None,
    ) -> dict[str, Tensor]:
        """Mean over images of each image's loss, an image's divisor being its sampled regions."""
        samples = [self.sample(p, gt) for p, gt in zip(proposals, gts, strict=True)]
        labels, targets, weights = self._targets(samples, gts)
        logits, deltas = self.bbox_forward(feats, [s.boxes for s in samples], context)
        return self.bbox_head.loss(logits, deltas, labels, targets, weights)

    @torch.no_grad()
    def sample(self, proposals: Tensor, gt: GroundTruth) -> Samples:
        """The regions of one image that a step learns from."""
        boxes = proposals[:, :4]
        return self.sampler.sample(boxes, self.assigner.assign(boxes, gt.boxes), gt.boxes)

    @torch.no_grad()
    def _targets(
        self, samples: list[Samples], gts: list[GroundTruth]
    ) -> tuple[Tensor, Tensor, Tensor]:
        labels, targets, weights = [], [], []
        for s, gt in zip(samples, gts, strict=True):
            label = gt.labels.new_full((len(s),), self.bbox_head.num_classes)
            label[: s.num_pos] = gt.labels[s.pos_gt]
            labels.append(label)
            coder = self.bbox_head.bbox_coder
            targets.append(coder.encode(s.boxes[: s.num_pos], gt.boxes[s.pos_gt]))
            weights.append(s.boxes.new_full((len(s),), 1 / (max(len(s), 1) * len(samples))))
        return torch.cat(labels), torch.cat(targets), torch.cat(weights)

    def predict(
        self, feats: tuple[Tensor, ...], proposals: list[Tensor], frames: list[Frame]
    ) -> list[Detections]:
        """Detections of every image on its own, see `detections`."""
        logits, deltas = self.bbox_forward(feats, proposals)
        sizes = [len(p) for p in proposals]
        return [
            self.detections(*parts)
            for parts in zip(
                logits.split(sizes), deltas.split(sizes), proposals, frames, strict=True
            )
        ]

    def detections(
        self, logits: Tensor, deltas: Tensor, proposals: Tensor, frame: Frame
    ) -> Detections:
        """Detections of one image, in pixels of the original image, on the CPU."""
        scores, boxes = self.bbox_head.decode(logits, deltas, proposals[:, :4], frame.img_shape)
        boxes = boxes / boxes.new_tensor(frame.scale_factor * 2)
        cfg = self.test_cfg
        found = multiclass_nms(
            boxes, scores, cfg['score_thr'], cfg['nms']['iou_threshold'], cfg['max_per_img']
        )
        return Detections(*(x.cpu() for x in found), image_id=frame.image_id)
