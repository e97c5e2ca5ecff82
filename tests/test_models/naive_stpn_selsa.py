"""SELSA on STPN written out: frames one by one, backbone, predictor and attention in loops.

Proposals, their losses and region features are the detector's own, an image at a time; their
oracles are in test_literal_faster_rcnn.py.
"""

import torch
import torch.nn.functional as F
from literal_parts import detections_of, regions_of
from naive_swin import backbone_maps
from torch import Tensor
from torchvision.ops import box_iou

from mmdet.models.batch import ClipBatch, GroundTruth
from mmdet.structures import Detections, Frame


def prompts_from(predictor, maps: list[Tensor]) -> Tensor:
    """[P, D] from the last maps [1, C, h, w] of some frames, a head at a time."""
    tokens = torch.cat([predictor.reduction(x[0].flatten(1).T) for x in maps])
    query, key = predictor.fc_embed(predictor.query), predictor.ref_fc_embed(tokens)
    return predictor.fc(heads(query, key, predictor.ref_fc(tokens), predictor.num_heads))


def heads(query: Tensor, key: Tensor, value: Tensor, number: int) -> Tensor:
    width = query.shape[1] // number
    out = []
    for head in range(number):
        part = slice(head * width, (head + 1) * width)
        weights = (query[:, part] @ key[:, part].T / width**0.5).softmax(dim=1)
        out.append(weights @ value[:, part])
    return torch.cat(out, dim=1)


def classify(head, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and offsets of region features [N, F] that attend to those of references [M, F]."""
    for fc, agg in zip(head.shared_fcs, head.aggregator, strict=True):
        x, r = fc(x), fc(r)
        taken = heads(agg.fc_embed(x), agg.ref_fc_embed(r), agg.ref_fc(r), agg.heads)
        x, r = F.relu(x + agg.fc(taken)), F.relu(r)
    return head.fc_cls(x), head.fc_reg(x)


class LiteralStpnSelsa:
    """The weights of a model, used frame by frame."""

    def __init__(self, model) -> None:
        self.detector, self.predictor = model.detector, model.prompt_predictor
        self.roi_head = model.detector.roi_head

    def maps(self, image: Tensor, prompts: Tensor | None) -> list[Tensor]:
        return backbone_maps(self.detector.backbone, image, prompts)

    def reference(self, maps: list[Tensor], shape: Tensor) -> Tensor:
        return regions_of(self.detector, self.detector.neck(tuple(maps)), shape)[1]

    def loss(self, batch: ClipBatch, extra_frames: bool) -> dict[str, Tensor]:
        """Mean over the clips of what each gives alone."""
        total: dict[str, Tensor] = {}
        for i, clip in enumerate(batch.clips):
            images = batch.images[batch.rows(i, range(len(clip.frames)))]
            gt = GroundTruth(*(x[i : i + 1] for x in vars(batch.gt).values()))
            shape = batch.img_shapes[batch.key_rows[i]][None]
            for name, value in self.clip_loss(*images, shape, gt, extra_frames).items():
                total[name] = total.get(name, 0) + value / len(batch)
        return total

    def clip_loss(self, key, ref0, ref1, ref2, ref3, shape, gt: GroundTruth, extra_frames: bool):
        if extra_frames:
            with torch.no_grad():
                support = [self.maps(ref0, None)[-1], self.maps(ref1, None)[-1]]
            prompts = prompts_from(self.predictor, support)
            refs = [self.maps(ref2, prompts), self.maps(ref3, prompts)]
        else:
            refs = [self.maps(ref, None) for ref in (ref0, ref1, ref2, ref3)]
            prompts = prompts_from(self.predictor, [maps[-1] for maps in refs])
        feats = self.detector.neck(tuple(self.maps(key, prompts)))
        losses, proposals = self.detector.rpn_losses(feats, gt, shape)
        boxes = torch.cat([gt.boxes[0], proposals.boxes[proposals.valid]])
        extractor, head = self.roi_head.bbox_roi_extractor, self.roi_head.bbox_head
        own = extractor(feats, boxes[None])[0].flatten(1)
        memory = torch.cat([self.reference(maps, shape) for maps in refs])
        logits, deltas = classify(head, own, memory)
        overlap, matched = box_iou(boxes, gt.boxes[0]).max(dim=1)
        labels = torch.where(overlap >= 0.5, gt.labels[0][matched], head.num_classes)
        positive = labels < head.num_classes
        assert 2 < positive.sum() < len(boxes)  # more than the ground truth itself
        targets = head.bbox_coder.encode(boxes, gt.boxes[0][matched])
        rows = deltas.unflatten(1, (-1, 4))[positive, labels[positive]]
        return losses | dict(
            loss_cls=F.cross_entropy(logits, labels),
            loss_bbox=F.smooth_l1_loss(
                rows, targets[positive], beta=head.loss_bbox.beta, reduction='sum'
            )
            / len(boxes),
            acc=(logits.argmax(dim=1) == labels).double().mean() * 100,
        )

    def detect(
        self,
        images: Tensor,
        shape: Tensor,
        key: Frame,
        support: list[int],
        memory: list[int],
        extra: bool,
    ) -> Detections:
        """On frame `key` of a video [L, 3, H, W], recomputing all it sees."""
        prompts = prompts_from(self.predictor, [self.maps(images[i], None)[-1] for i in support])
        feats = self.detector.neck(tuple(self.maps(images[key.frame_id], prompts)))
        boxes, own = regions_of(self.detector, feats, shape)
        seen = prompts if extra else None
        rows = [self.reference(self.maps(images[i], seen), shape) for i in memory]
        logits, deltas = classify(self.roi_head.bbox_head, own, torch.cat([*rows, own]))
        return detections_of(self.detector, logits, deltas, boxes, shape, key)
