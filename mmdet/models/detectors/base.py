"""What a detector of single frames is: the protocol that the video methods build on.

Shapes: N images.
"""

import torch
from torch import Tensor, nn

from mmdet.models.base import BaseVideoDetector, VideoState
from mmdet.models.batch import ClipBatch, GroundTruth
from mmdet.models.detections import BatchDetections
from mmdet.models.static import TrainingGraphs

Maps = tuple[Tensor, ...]


class Detector(BaseVideoDetector):
    """Backbone, neck, and what finds objects on the neck's maps.

    It is a complete single-frame model, and the `detector` inside the video models. Subclasses set
    `backbone` and `neck` (or None) and implement `losses` and `detect`, both for a whole batch of
    images and without waiting for the host.
    """

    backbone: nn.Module
    neck: nn.Module | None
    training_graphs: TrainingGraphs | None = None

    def encode(self, images: Tensor, **context: Tensor) -> Maps:
        """The backbone's maps of images [N, 3, H, W]; `context`: such as `prompts`."""
        return self.backbone(images, **context)

    def feats(self, maps: Maps) -> Maps:
        """The neck's maps of the backbone's."""
        return self.neck(maps) if self.neck is not None else maps

    def feats_of(self, images: Tensor) -> Maps:
        """From images to the neck's maps; in training as CUDA graphs where that is asked for."""
        if self.training_graphs is not None and self.training and torch.is_grad_enabled():
            return self.training_graphs(images)
        return self.feats(self.encode(images))

    def losses(self, feats: Maps, gt: GroundTruth, img_shapes: Tensor) -> dict[str, Tensor]:
        """Mean over images of each image's losses; `img_shapes` [N, 2]: before padding."""
        raise NotImplementedError

    def detect(self, feats: Maps, img_shapes: Tensor) -> BatchDetections:
        """Detections on every image."""
        raise NotImplementedError

    # ---- as a model of its own

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        rows = batch.key_rows
        feats = self.feats_of(batch.take(batch.images, rows))
        return self.losses(feats, batch.gt, batch.take(batch.img_shapes, rows))

    def detect_batch(self, batch: ClipBatch, states: list[VideoState]) -> BatchDetections:
        rows = batch.key_rows
        images, img_shapes = batch.take(batch.images, rows), batch.take(batch.img_shapes, rows)
        return BatchDetections(*self.static(self.detect_images, images, img_shapes))

    def detect_images(self, images: Tensor, img_shapes: Tensor) -> tuple[Tensor, ...]:
        """From images to detections, in fixed shapes."""
        detections = self.detect(self.feats(self.encode(images)), img_shapes)
        return detections.boxes, detections.scores, detections.labels, detections.valid
