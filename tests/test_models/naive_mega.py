"""MEGA and RDN as the papers and the original have them: pairs of regions, lists of frames.

`regions(frame id, number)` gives the best boxes [n, 4] and first-layer features [n, C] (after the
ReLU) of a frame. `fcs` are the layers after the first.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Regions = Callable[[int, int], tuple[Tensor, Tensor]]


def embedding(query: np.ndarray, key: np.ndarray) -> list[float]:
    """64 numbers for two boxes whose border pixels both count."""
    (w, h), (kw, kh) = (box[2:] - box[:2] + 1 for box in (query, key))
    dx, dy = np.abs((query[:2] + query[2:]) / 2 - (key[:2] + key[2:]) / 2)
    out = []
    for v in (math.log(dx / w + 1e-3), math.log(dy / h + 1e-3), math.log(w / kw), math.log(h / kh)):
        angles = [100 * v / 1000 ** (k / 8) for k in range(8)]
        out += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return out


def relation(module: nn.Module, query, keys, query_boxes, key_boxes) -> np.ndarray:
    """[N, C] for float64 features [N, C] and [M, C]: sums keys per head, projects the sums."""
    weights = {k: v.double().numpy() for k, v in module.state_dict().items()}
    size = query.shape[1] // module.heads
    prior = weights.get('u', np.zeros((module.heads, 1, size)))
    out = np.zeros_like(query)
    for n, feature in enumerate(query):
        q = weights['q.weight'] @ feature + weights['q.bias']
        for g in range(module.heads):
            part = slice(g * size, (g + 1) * size)
            logits = []
            for m, key in enumerate(keys):
                k = (weights['k.weight'] @ key + weights['k.bias'])[part]
                logit = (q[part] + prior[g, 0]) @ k / math.sqrt(size)
                if 'pos.weight' in weights:
                    e = np.array(embedding(query_boxes[n], key_boxes[m]))
                    gate = weights['pos.weight'][g] @ e + weights['pos.bias'][g]
                    logit += math.log(max(gate, 0) + 1e-6)
                logits.append(logit)
            attention = np.exp(np.array(logits) - max(logits))
            summed = attention / attention.sum() @ keys
            out[n, part] = weights['v.weight'][part] @ summed + weights['v.bias'][part]
    return out


@dataclass
class Step:
    """A frame of a video, and those that it sees. `leaves`: the first one of the window goes into
    the memory afterwards."""

    key: int
    window: Sequence[int]
    globals: Sequence[int] = ()
    leaves: bool = True


def steps(length: int, before: int, after: int, chosen: Sequence[int] = ()) -> list[Step]:
    """The window ends with the video; the global frames stay."""
    return [
        Step(t, range(max(t - before, 0), min(t + after, length - 1) + 1), chosen, t >= before)
        for t in range(length)
    ]


def beside(regions: Regions, frames: Sequence[int], number: int) -> tuple[Tensor, Tensor]:
    boxes, feats = zip(*(regions(i, number) for i in frames), strict=True)
    return torch.cat(boxes), torch.cat(feats)


def attend(module: nn.Module, query, keys, query_boxes=None, key_boxes=None) -> Tensor:
    boxes = (None, None) if query_boxes is None else (query_boxes[None], key_boxes[None])
    return query + module(query[None], keys[None], *boxes)[0]


def mega(
    regions: Regions,
    module: nn.Module,
    fcs: nn.ModuleList,
    video: list[Step],
    memory_frames: int,
    proposals: int,
    base: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Boxes and features before the classifier of every frame of a video, in order."""
    local, (first, *last) = module.local, module.get_submodule('global')
    memory = [deque(maxlen=memory_frames) for _ in local]
    for step in video:
        boxes, key = regions(step.key, proposals)
        keys = torch.cat([regions(i, base)[1] for i in step.globals])
        key = attend(first, key, keys)
        ref_boxes, refs = beside(regions, step.window, base)
        refs = attend(first, refs, keys)
        own_boxes, own = beside(regions, step.window, module.distilled)
        own = attend(first, own, keys)
        writes = []
        for i, relation in enumerate(local):
            number = base if i == 0 else module.distilled
            writes.append((ref_boxes[:number], refs[:number]))
            all_boxes = torch.cat([ref_boxes, *(b for b, _ in memory[i])])
            all_refs = torch.cat([refs, *(feats for _, feats in memory[i])])
            if i == len(local) - 1:
                key = attend(relation, key, all_refs, boxes, all_boxes)
                break
            query, query_boxes = torch.cat([key, own]), torch.cat([boxes, own_boxes])
            query = F.relu(fcs[i](attend(relation, query, all_refs, query_boxes, all_boxes)))
            key, own = query[: len(key)], query[len(key) :]
            refs, ref_boxes = own, own_boxes
        for bank, write in zip(memory, writes, strict=True):
            bank.extend([write] * step.leaves)
        for relation in last:
            key = attend(relation, key, keys)
        yield boxes, key


def rdn(
    regions: Regions,
    module: nn.Module,
    fcs: nn.ModuleList,
    video: list[Step],
    proposals: int,
    base: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `mega`. Relations beyond the base stages belong to the advanced ones."""
    local, stages = module.local, module.stages
    for step in video:
        boxes, key = regions(step.key, proposals)
        ref_boxes, refs = beside(regions, step.window, base)
        for i in range(stages):
            if i > 0:
                key = F.relu(fcs[i - 1](key))
            key = attend(local[i], key, refs, boxes, ref_boxes)
        if len(local) > stages:
            own_boxes, own = beside(regions, step.window, module.distilled)
            for i in range(stages, len(local) - 1):
                own = F.relu(fcs[i - 1](attend(local[i], own, refs, own_boxes, ref_boxes)))
            key = attend(local[-1], key, own, boxes, own_boxes)
        yield boxes, key
