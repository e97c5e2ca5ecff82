"""EOVOD as its description reads: one frame after the other, loops over cells, keys and heads.

The detector's own parts (maps, head, suppression) are taken from the model under test; what lies
between them, and what is remembered, is computed here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.detections import BatchDetections
from mmdet.structures import Clip

PAST_STRIDE = 10
Keys = dict[int, list[Tensor]]  # of each level


@dataclass
class Case:
    """Settings of a model under test, under their names there."""

    site: str = 'neck'
    levels: Sequence[int] = (0, 1, 2)
    strides: Sequence[int] = (8, 16, 32)
    branches: str = 'cls'
    queries: str = 'prior'
    validate_on: str = 'score'
    score_thr: float = 0.3
    update: bool = False
    interval: int = 0
    margin: int = 0


@dataclass
class NaiveFrame:
    """`looked`: how many cells took from keys; `levels` that the head ran on; None: all."""

    detections: BatchDetections
    levels: list[int] | None
    validated: int
    looked: int


@torch.no_grad()
def eovod(
    model, case: Case, clips: list[Clip], refs: list[Clip], keys: Keys | None = None
) -> Iterator[NaiveFrame]:
    """The frames of a video; `refs` are clips of one reference each, `keys` those of another video
    that this one goes on with."""
    keys = {level: [] for level in case.levels} if keys is None else keys
    for clip in refs:
        maps, shapes = encode(model, case, clip)
        boxes, _ = validated(case, model.detector.find(heads(model, case, maps), shapes))
        remember(case, keys, maps, boxes)
    prior, levels, since_full = [], [], None
    for t, clip in enumerate(clips):
        maps, shapes = encode(model, case, clip)
        full = since_full is None or since_full == case.interval or not levels
        enhanced, looked = list(maps), 0
        for level, stride in zip(case.levels, case.strides, strict=True):
            enhanced[level] = maps[level].clone()
            for i, j in cells(maps[level]):
                if not keys[level]:
                    continue
                if case.queries == 'all' or any(
                    holds(b, i, j, stride, 0.8, maps[level]) for b in prior
                ):
                    row = maps[level][0, :, i, j]
                    enhanced[level][0, :, i, j] += attended(model, level, row, keys[level])
                    looked += 1
        seen = heads(model, case, enhanced)
        plain = heads(model, case, maps) if case.branches == 'cls' else seen
        found = model.detector.find(plain, shapes, seen, None if full else levels)
        prior, of_levels = validated(case, found)
        if case.update:
            remember(case, keys, enhanced, prior)
        elif not refs and t % PAST_STRIDE == 0:
            remember(case, keys, maps, prior)
        yield NaiveFrame(found.detections, None if full else levels, len(prior), looked)
        if full:
            last = len(seen) - 1
            steps = range(-case.margin, case.margin + 1)
            near = {min(max(level + d, 0), last) for level in of_levels for d in steps}
            levels, since_full = sorted(near), 0
        else:
            since_full += 1


def encode(model, case: Case, clip: Clip) -> tuple[list[Tensor], Tensor]:
    batch = model.data_preprocessor([clip])['batches'][0]
    maps = model.detector.encode(batch.images)
    return list(maps if case.site == 'backbone' else model.detector.feats(maps)), batch.img_shapes


def heads(model, case: Case, maps: list[Tensor]) -> tuple[Tensor, ...]:
    """What the head sees of the maps of the site."""
    return model.detector.feats(tuple(maps)) if case.site == 'backbone' else tuple(maps)


def validated(case: Case, found) -> tuple[list[list[float]], list[int]]:
    """Boxes and levels of the detections that are above the threshold."""
    d = found.detections
    scores = d.scores if case.validate_on == 'score' else found.class_scores
    sure = [k for k in range(d.valid.shape[1]) if d.valid[0, k] and scores[0, k] > case.score_thr]
    return [d.boxes[0, k].tolist() for k in sure], [int(d.levels[0, k]) for k in sure]


def remember(case: Case, keys: Keys, maps: list[Tensor], boxes: list[list[float]]) -> None:
    for level, stride in zip(case.levels, case.strides, strict=True):
        for i, j in cells(maps[level]):
            if any(holds(box, i, j, stride, 1.0, maps[level]) for box in boxes):
                keys[level].append(maps[level][0, :, i, j])


def cells(x: Tensor) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(x.shape[2]) for j in range(x.shape[3]))


def holds(box: list[float], i: int, j: int, stride: int, ratio: float, x: Tensor) -> bool:
    """Whether the centre of a cell lies in the scaled box, or the box's own centre in the cell."""
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_w, half_h = (box[2] - box[0]) * ratio / 2, (box[3] - box[1]) * ratio / 2
    inside = abs((j + 0.5) * stride - cx) <= half_w and abs((i + 0.5) * stride - cy) <= half_h
    own = (min(max(int(cy / stride), 0), x.shape[2] - 1),
           min(max(int(cx / stride), 0), x.shape[3] - 1))  # fmt: skip
    return inside or (i, j) == own


def attended(model, level: int, row: Tensor, keys: list[Tensor]) -> Tensor:
    """What a cell takes from the keys, head by head."""
    module = model.aggregators[str(level) if str(level) in model.aggregators else '0']
    keys = torch.stack(keys)
    query, key, value = module.fc_embed(row), module.ref_fc_embed(keys), module.ref_fc(keys)
    width = len(row) // module.heads
    mixed = []
    for head in range(module.heads):
        own = slice(head * width, (head + 1) * width)
        weights = (key[:, own] @ query[own] / width**0.5).softmax(0)
        mixed.append(weights @ value[:, own])
    return module.fc(torch.cat(mixed))
