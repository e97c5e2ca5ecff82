"""SELSA, MAMBA and STPN written out: frames one by one, heads in loops.

Proposals, their losses and region features are the detector's own, an image at a time;
test_golden.py and test_rendered_parity.py compare them with 1.x.
"""

import torch
import torch.nn.functional as F
from literal_parts import detections_of, image_of, regions_of
from torch import Tensor

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
    """By the backbone itself, whose oracles are in test_swin.py, an image at a time."""
    given = () if prompts is None else (prompts,)
    return list(model.detector.backbone(image[None], *given))


def features(model, maps: list[Tensor], shape: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [n, 4] and features [n, F] of the regions of one image, given its maps."""
    return regions_of(model.detector, model.detector.neck(tuple(maps)), shape)


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
