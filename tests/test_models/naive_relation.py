"""The relation module of RDN and MEGA as its papers write it, one pair of regions at a time."""

import math

import numpy as np
from torch import nn


def embedding(query: np.ndarray, key: np.ndarray) -> list[float]:
    """64 numbers for two boxes whose border pixels both count."""
    (w, h), (kw, kh) = (box[2:] - box[:2] + 1 for box in (query, key))
    dx, dy = np.abs((query[:2] + query[2:]) / 2 - (key[:2] + key[2:]) / 2)
    out = []
    for v in (math.log(dx / w + 1e-3), math.log(dy / h + 1e-3), math.log(w / kw), math.log(h / kh)):
        angles = [100 * v / 1000 ** (k / 8) for k in range(8)]
        out += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return out


def relation(
    module: nn.Module,
    query: np.ndarray,
    keys: np.ndarray,
    query_boxes: np.ndarray | None = None,
    key_boxes: np.ndarray | None = None,
) -> np.ndarray:
    """[N, C] for float64 rows [N, C] and [M, C]: sums keys per head, then projects the sums."""
    weights = {k: v.double().numpy() for k, v in module.state_dict().items()}
    heads, channels = module.heads, query.shape[1]
    size = channels // heads
    out = np.zeros_like(query)
    for n, row in enumerate(query):
        q = weights['q.weight'] @ row + weights['q.bias']
        for g in range(heads):
            part = slice(g * size, (g + 1) * size)
            logits = []
            for m, key in enumerate(keys):
                k = (weights['k.weight'] @ key + weights['k.bias'])[part]
                logit = q[part] @ k
                if 'u' in weights:
                    logit += weights['u'][g, 0] @ k
                logit /= math.sqrt(size)
                if 'pos.weight' in weights:
                    e = np.array(embedding(query_boxes[n], key_boxes[m]))
                    gate = weights['pos.weight'][g] @ e + weights['pos.bias'][g]
                    logit += math.log(max(gate, 0) + 1e-6)
                logits.append(logit)
            attention = np.exp(np.array(logits) - max(logits))
            summed = attention / attention.sum() @ keys
            out[n, part] = weights['v.weight'][part] @ summed + weights['v.bias'][part]
    return out
