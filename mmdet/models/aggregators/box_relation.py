"""How two boxes lie to each other, as sines and cosines (Relation Networks, section 3.2).

Of each of `log(|dx| / w + 1e-3)`, `log(|dy| / h + 1e-3)`, `log(w / w')` and `log(h / h')`, where w
and h are the query's, there are eight sines, then eight cosines. Sides count both border pixels.

Shapes: B frames, N query boxes, M key boxes, H heads.
"""

import torch
from torch import Tensor

FREQUENCIES = 8
WAVELENGTH = 1000.0
SCALE = 100.0
BOX_CHANNELS = 4 * 2 * FREQUENCIES
MIN_SIDE = 1e-3  # pixels: a box of side 0 would turn all that sees it into NaN


def box_relation(query_boxes: Tensor, key_boxes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The embedding of `query_boxes` [B, N, 4] against `key_boxes` [B, M, 4] in a linear layer of
    `weight` [H, 64] and `bias` [H]: [B, H, N, M].

    The half that depends on the ratio of sides is never made for pairs: the sine of a difference
    splits into products of what each box has alone, which a matrix product sums up. Angles reach
    600 rad: boxes of lower precision are taken as float32.
    """
    centre, side = _centre_side(query_boxes)
    key_centre, key_side = _centre_side(key_boxes)
    weight, bias = weight.to(side), bias.to(side)
    shift = (centre[:, :, None] - key_centre[:, None]).abs() / side[:, :, None]
    angles = _angles(torch.log(shift + 1e-3))
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(3)
    half = BOX_CHANNELS // 2
    out = torch.einsum('hc,bnmc->bhnm', weight[:, :half], waves)
    ratios = _of_ratios(_angles(side.log()), _angles(key_side.log()), weight[:, half:])
    return out.add_(ratios).add_(bias[:, None, None])  # in place: these are the largest tensors


def _of_ratios(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """`weight` [H, 32] times the sines and cosines of all differences of the angles [B, N, 2, 8]
    and [B, M, 2, 8]."""
    of_sine, of_cosine = weight.unflatten(1, (2, 2, FREQUENCIES))[:, None].unbind(3)
    sine, cosine = key.sin()[:, None], key.cos()[:, None]
    with_sine = of_sine * cosine + of_cosine * sine
    with_cosine = of_cosine * cosine - of_sine * sine
    query = torch.cat([query.sin(), query.cos()], dim=-1).flatten(2)[:, None]
    return query @ torch.cat([with_sine, with_cosine], dim=-1).flatten(3).transpose(2, 3)


def _angles(x: Tensor) -> Tensor:
    """[..., 2] -> [..., 2, 8]."""
    exponents = torch.arange(FREQUENCIES, device=x.device, dtype=x.dtype) / FREQUENCIES
    return x[..., None] * (SCALE / WAVELENGTH**exponents)


def _centre_side(boxes: Tensor) -> tuple[Tensor, Tensor]:
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) * 0.5, (high - low + 1).clamp(min=MIN_SIDE)
