"""Detectors without proposals: backbone, neck, one head on all levels."""

from collections.abc import Sequence

from torch import Tensor

from mmdet.models.batch import GroundTruth
from mmdet.models.dense_heads.candidates import DenseDetections
from mmdet.models.detections import BatchDetections
from mmdet.models.detectors.base import Detector, Maps
from mmdet.registry import MODELS


@MODELS.register_module(name=['FCOS', 'YOLOX', 'CenterNet'])
class OneStageDetector(Detector):
    """A complete single-frame model, and the `detector` inside EOVOD.

    The head decides which one it is: FCOS (arXiv 1904.01355) with `FCOSHead`, YOLOX (arXiv
    2107.08430) with `YOLOXHead`, CenterNet (arXiv 1904.07850) with `CenterNetHead`.

    `train_cfg` and `test_cfg` are those of the head.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        bbox_head: dict,
        test_cfg: dict,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.bbox_head = MODELS.build(dict(bbox_head, train_cfg=train_cfg, test_cfg=test_cfg))

    def losses(
        self, feats: Maps, gt: GroundTruth, img_shapes: Tensor, cls_feats: Maps | None = None
    ) -> dict[str, Tensor]:
        """`cls_feats`: other maps for the classification alone."""
        return self.bbox_head.losses(feats, gt, img_shapes, cls_feats)

    def detect(self, feats: Maps, img_shapes: Tensor) -> BatchDetections:
        return self.find(feats, img_shapes).detections

    def find(
        self,
        feats: Maps,
        img_shapes: Tensor,
        cls_feats: Maps | None = None,
        levels: Sequence[int] | None = None,
    ) -> DenseDetections:
        """`detect` with other maps for classes and on some of the levels; with class scores."""
        return self.bbox_head.find(feats, img_shapes, cls_feats, levels)
