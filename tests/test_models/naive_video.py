"""SELSA, MAMBA and STPN written out: frames one by one, heads in loops.

Proposals, their losses and region features are the detector's own, an image at a time; their
oracles are in test_literal_faster_rcnn.py.
"""

import torch
import torch.nn.functional as F
from literal_parts import detections_of, image_of, regions_of
from naive_swin import backbone_maps
from torch import Tensor
from torchvision.ops import box_iou

from mmdet.models.batch import ClipBatch, GroundTruth
from mmdet.structures import Clip, Detections, Frame


def heads(query: Tensor, key: Tensor, value: Tensor, number: int) -> Tensor:
    """[N, C] of queries [N, C], keys and values [M, C]."""
    width = query.shape[1] // number
    out = []
    for head in range(number):
        part = slice(head * width, (head + 1) * width)
        weights = (query[:, part] @ key[:, part].T / width**0.5).softmax(dim=1)
        out.append(weights @ value[:, part])
    return torch.cat(out, dim=1)


def taken(agg, x: Tensor, r: Tensor) -> Tensor:
    """What features [N, C] take from those of references [M, C]."""
    return agg.fc(heads(agg.fc_embed(x), agg.ref_fc_embed(r), agg.ref_fc(r), agg.heads))


def prompts_from(predictor, maps: list[Tensor]) -> Tensor:
    """[P, D] from the last maps [1, C, h, w] of some frames, by the AttentionPromptPredictor."""
    tokens = torch.cat([predictor.reduction(x[0].flatten(1).T) for x in maps])
    query, key = predictor.fc_embed(predictor.query), predictor.ref_fc_embed(tokens)
    return predictor.fc(heads(query, key, predictor.ref_fc(tokens), predictor.num_heads))


def plain(head, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and offsets of region features [N, F] that see no others."""
    for fc in head.shared_fcs:
        x = F.relu(fc(x))
    return head.fc_cls(x), head.fc_reg(x)


def classify(head, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and offsets of region features [N, F] that attend to those of references [M, F]."""
    for fc, agg in zip(head.shared_fcs, head.aggregator, strict=True):
        x, r = fc(x), fc(r)
        x, r = F.relu(x + taken(agg, x, r)), F.relu(r)
    return head.fc_cls(x), head.fc_reg(x)


def regions(model, clip: Clip, place: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [n, 4] and features [n, F] of a frame, and its (height, width) [1, 2]."""
    image, shape = image_of(model, clip, place)
    detector = model.detector
    return *regions_of(detector, detector.feats(detector.encode(image)), shape), shape


# ---- SELSA on STPN


def maps_of(model, image: Tensor, prompts: Tensor | None = None) -> list[Tensor]:
    return backbone_maps(model.detector.backbone, image, prompts)


def features(model, maps: list[Tensor], shape: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [n, 4] and features [n, F] of the regions of one image, given its maps."""
    return regions_of(model.detector, model.detector.neck(tuple(maps)), shape)


def stpn_selsa_losses(model, batch: ClipBatch, extra: bool) -> dict[str, Tensor]:
    """Mean over clips of a key frame and four references, of what each gives alone."""
    mean: dict[str, Tensor] = {}
    for i, clip in enumerate(batch.clips):
        images = batch.images[batch.rows(i, range(len(clip.frames)))]
        gt = GroundTruth(*(x[i : i + 1] for x in vars(batch.gt).values()))
        shape = batch.img_shapes[batch.key_rows[i]][None]
        for name, value in clip_losses(model, *images, shape, gt, extra).items():
            mean[name] = mean.get(name, 0) + value / len(batch)
    return mean


def clip_losses(model, key, ref0, ref1, ref2, ref3, shape, gt: GroundTruth, extra: bool) -> dict:
    if extra:
        with torch.no_grad():
            support = [maps_of(model, ref)[-1] for ref in (ref0, ref1)]
        prompts = prompts_from(model.prompt_predictor, support)
        refs = [maps_of(model, ref, prompts) for ref in (ref2, ref3)]
    else:
        refs = [maps_of(model, ref) for ref in (ref0, ref1, ref2, ref3)]
        prompts = prompts_from(model.prompt_predictor, [maps[-1] for maps in refs])
    feats = model.detector.neck(tuple(maps_of(model, key, prompts)))
    losses, proposals = model.detector.rpn_losses(feats, gt, shape)
    boxes = torch.cat([gt.boxes[0], proposals.boxes[proposals.valid]])
    head = model.detector.roi_head.bbox_head
    own = model.detector.roi_head.bbox_roi_extractor(feats, boxes[None])[0].flatten(1)
    seen = torch.cat([features(model, maps, shape)[1] for maps in refs])
    logits, deltas = classify(head, own, seen)
    overlap, matched = box_iou(boxes, gt.boxes[0]).max(dim=1)
    labels = torch.where(overlap >= 0.5, gt.labels[0][matched], head.num_classes)
    positive = labels < head.num_classes
    assert 2 < positive.sum() < len(boxes)  # more than the ground truth itself
    targets = head.bbox_coder.encode(boxes, gt.boxes[0][matched])[positive]
    deltas = deltas.unflatten(1, (-1, 4))[positive, labels[positive]]
    loss_bbox = F.smooth_l1_loss(deltas, targets, beta=head.loss_bbox.beta, reduction='sum')
    acc = (logits.argmax(dim=1) == labels).double().mean() * 100
    loss_cls = F.cross_entropy(logits, labels)
    return losses | dict(loss_cls=loss_cls, loss_bbox=loss_bbox / len(boxes), acc=acc)


def stpn_selsa_detections(
    model,
    images: Tensor,
    shape: Tensor,
    key: Frame,
    support: list[int],
    refs: list[int],
    extra: bool,
) -> Detections:
    """On frame `key` of a video [L, 3, H, W], recomputing all it sees."""
    prompts = prompts_from(model.prompt_predictor, [maps_of(model, images[i])[-1] for i in support])
    boxes, own = features(model, maps_of(model, images[key.frame_id], prompts), shape)
    with_prompts = prompts if extra else None
    seen = [features(model, maps_of(model, images[i], with_prompts), shape)[1] for i in refs]
    logits, deltas = classify(model.detector.roi_head.bbox_head, own, torch.cat([*seen, own]))
    return detections_of(model.detector, logits, deltas, boxes, shape, key)
