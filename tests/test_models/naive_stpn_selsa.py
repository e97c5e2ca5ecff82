"""SELSA on STPN written out: frames one by one, backbone, predictor and attention in loops.

Proposals, region features, sampling and losses are the detector's own, an image at a time; their
oracles are in test_literal_faster_rcnn.py.
"""

import torch
import torch.nn.functional as F
from naive_swin import backbone_maps
from torch import Tensor

from mmdet.models.batch import ClipBatch
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

    def region_feats(self, feats, boxes: Tensor) -> Tensor:
        rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes[:, :4]], dim=1)
        return self.roi_head.bbox_roi_extractor(feats, rois).flatten(1)

    def reference(self, maps: list[Tensor], shape: tuple[int, int]) -> Tensor:
        feats = self.detector.neck(tuple(maps))
        (proposals,) = self.detector.propose(feats, [shape])
        return self.region_feats(feats, proposals)

    def loss(self, batch: ClipBatch, extra_frames: bool) -> dict[str, Tensor]:
        """Mean over the clips of what each gives alone."""
        total: dict[str, Tensor] = {}
        for images, clip, gt in zip(batch.images, batch.clips, batch.gts, strict=True):
            for name, value in self.clip_loss(*images, clip.key.img_shape, gt, extra_frames):
                total[name] = total.get(name, 0) + value / len(batch)
        return total

    def clip_loss(self, key, ref0, ref1, ref2, ref3, shape, gt, extra_frames: bool):
        if extra_frames:
            with torch.no_grad():
                support = [self.maps(ref0, None)[-1], self.maps(ref1, None)[-1]]
            prompts = prompts_from(self.predictor, support)
            refs = [self.maps(ref2, prompts), self.maps(ref3, prompts)]
        else:
            refs = [self.maps(ref, None) for ref in (ref0, ref1, ref2, ref3)]
            prompts = prompts_from(self.predictor, [maps[-1] for maps in refs])
        feats = self.detector.neck(tuple(self.maps(key, prompts)))
        losses, (proposals,) = self.detector.rpn_loss(feats, [gt], [shape])
        sample = self.roi_head.sample(proposals, gt)
        memory = torch.cat([self.reference(maps, shape) for maps in refs])
        head = self.roi_head.bbox_head
        logits, deltas = classify(head, self.region_feats(feats, sample.boxes), memory)
        labels = [int(gt.labels[k]) for k in sample.pos_gt]
        labels = torch.tensor(labels + [head.num_classes] * (len(sample) - len(labels)))
        matched = gt.boxes[sample.pos_gt]
        targets = head.bbox_coder.encode(sample.boxes[: len(matched)], matched)
        weights = torch.full((len(sample),), 1 / len(sample), dtype=deltas.dtype)
        return (losses | head.loss(logits, deltas, labels, targets, weights)).items()

    def detect(
        self, images: Tensor, key: Frame, support: list[int], memory: list[int], extra: bool
    ) -> Detections:
        """On frame `key` of a video [L, 3, H, W], recomputing all it sees."""
        shape = key.img_shape
        prompts = prompts_from(self.predictor, [self.maps(images[i], None)[-1] for i in support])
        feats = self.detector.neck(tuple(self.maps(images[key.frame_id], prompts)))
        (proposals,) = self.detector.propose(feats, [shape])
        own = self.region_feats(feats, proposals)
        seen = prompts if extra else None
        rows = [self.reference(self.maps(images[i], seen), shape) for i in memory]
        logits, deltas = classify(self.roi_head.bbox_head, own, torch.cat([*rows, own]))
        return self.roi_head.detections(logits, deltas, proposals, key)
