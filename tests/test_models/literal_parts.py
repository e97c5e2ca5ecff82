"""One image at a time: what the literal video methods take from the detector itself.

Proposals, region features and suppression are the detector's own; test_golden.py and
test_rendered_parity.py compare them with 1.x.
"""

import torch
from alike import share_found
from torch import Tensor

from mmdet.models.dense_heads.rpn_head import Proposals
from mmdet.models.detections import PendingDetections
from mmdet.structures import Clip, Detections, Frame


def image_of(model, clip: Clip, place: int = 0) -> tuple[Tensor, Tensor]:
    """The image [1, 3, H, W] of a frame of a clip, and its (height, width) [1, 2]."""
    batch = model.data_preprocessor([clip])['batches'][0]
    (row,) = batch.rows(0, [place])
    return batch.images[row : row + 1], batch.img_shapes[row : row + 1]


def regions_of(detector, feats: tuple, img_shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [n, 4] of the proposals that exist on one image, and their features [n, F]."""
    proposals = detector.propose(feats, img_shapes)
    boxes = proposals.boxes[proposals.valid]
    return boxes, detector.roi_head.bbox_roi_extractor(feats, boxes[None])[0].flatten(1)


def detections_of(
    detector, logits: Tensor, deltas: Tensor, boxes: Tensor, img_shapes: Tensor, frame: Frame
) -> Detections:
    """Detections of one frame from what its regions [n, 4] were classified as."""
    every = torch.ones(1, len(boxes), dtype=torch.bool)
    proposals = Proposals(boxes[None], every.to(boxes.dtype), every)
    found = detector.roi_head.detections(logits[None], deltas[None], proposals, img_shapes)
    return PendingDetections(found, [frame]).get()[0]


def assert_close(found: list[Detections], expected: list[Detections]) -> None:
    """The same classes, scores to 1e-5, boxes to a hundredth of a pixel; what is so close may
    change places."""
    for a, b in zip(found, expected, strict=True):
        assert len(a) == len(b) > 0 and a.image_id == b.image_id
        assert share_found(a, b, 1e-5, 1e-2) == share_found(b, a, 1e-5, 1e-2) == 1
