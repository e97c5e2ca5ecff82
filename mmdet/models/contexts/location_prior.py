"""EOVOD's location prior (arXiv 2402.09241, section 3.2): attention only where objects were.

A frame's validated detections say where the next frame looks: cells there take from the keys of
other frames, all others stay as they are.

Shapes: B frames, D detections of a frame, L levels, C channels, n cells, M keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators.base import Aggregator
from mmdet.models.contexts.cells import attend_in, cells_in_boxes
from mmdet.models.contexts.key_cells import BankedKeys, KeptKeys, Keys
from mmdet.models.dense_heads.candidates import DenseDetections

SCORES = ('score', 'cls_score')
QUERIES = ('prior', 'all')


@dataclass
class PriorState:
    """`boxes` [D, 4] in resized pixels and which of them are validated [D], of the frame before;
    None before the first. `keys`: per level, the state of its keys."""

    keys: list[Any]
    boxes: Tensor | None = field(default=None, repr=False)
    valid: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Validation:
    """Which detections tell where objects are: those whose `validate_on`, the 'score' (what is
    evaluated) or the 'cls_score' (class alone), is above `score_thr`."""

    score_thr: float = 0.3
    validate_on: str = 'score'

    def __post_init__(self) -> None:
        if self.validate_on not in SCORES:
            raise ConfigError(
                f'location_prior.validate_on is {self.validate_on!r}. Known: {", ".join(SCORES)}.'
            )

    def __call__(self, dense: DenseDetections) -> Tensor:
        """[B, D]"""
        scores = dense.detections.scores if self.validate_on == 'score' else dense.class_scores
        return dense.detections.valid & (scores > self.score_thr)


class LocationPrior:
    """Where to look and what to take, on some levels of a pyramid.

    Args:
        aggregators: of each level, in order (one may serve several).
        strides: of the levels, in pixels.
        memory: where the keys come from.
        queries: 'prior', cells in the scaled boxes of the frame before; 'all', every cell.
        box_ratio: boxes are scaled by it before cells are queries, not before they are keys.
        max_queries: cells of a level that look at most; None: all. A GPU computes as many for every
            frame, wherever objects were.
    """

    def __init__(
        self,
        aggregators: Sequence[Aggregator],
        strides: Sequence[int],
        memory: KeptKeys | BankedKeys,
        queries: str = 'prior',
        box_ratio: float = 0.8,
        max_queries: int | None = None,
    ) -> None:
        if queries not in QUERIES:
            raise ConfigError(
                f'location_prior.queries is {queries!r}. Known: {", ".join(QUERIES)}.'
            )
        self.aggregators, self.strides = list(aggregators), tuple(strides)
        self.memory = memory
        self.queries = queries
        self.box_ratio = box_ratio
        self.max_queries = max_queries

    def init_state(self, generator: torch.Generator) -> PriorState:
        return PriorState([self.memory.init_state(generator) for _ in self.strides])

    def enhance(
        self,
        maps: Sequence[Tensor],
        boxes: Tensor,
        valid: Tensor,
        keys: Sequence[Keys],
        needed: Sequence[bool] | None = None,
    ) -> list[Tensor]:
        """Maps of the levels [B, C, h, w], those cells changed that look.

        Args:
            boxes: [B, D, 4] of the frames before, in resized pixels. valid: [B, D].
            keys: per level [B, M, K] and which of them exist [B, M].
            needed: levels that nobody looks at stay as they are; None: all are needed.
        """
        enhanced = list(maps)
        for i, (x, stride) in enumerate(zip(maps, self.strides, strict=True)):
            if needed is None or needed[i]:
                mask = self._queries(x, boxes, valid, stride)
                enhanced[i] = attend_in(self.aggregators[i], x, mask, *keys[i], self.max_queries)
        return enhanced

    def _queries(self, x: Tensor, boxes: Tensor, valid: Tensor, stride: int) -> Tensor:
        """Which cells [B, n] of a map look."""
        if self.queries == 'all':
            return torch.ones(len(x), x[0, 0].numel(), dtype=torch.bool, device=x.device)
        return cells_in_boxes(boxes, valid, x.shape[-2:], stride, self.box_ratio)

    def begin(
        self, state: PriorState, maps: Sequence[Tensor], boxes: Tensor, valid: Tensor
    ) -> None:
        """Take the references of a video, their maps [R, C, h, w] and detections [R, D, 4]."""
        for x, stride, aggregator, kept in self._levels(maps, state):
            mask = cells_in_boxes(boxes, valid, x.shape[-2:], stride)
            self.memory.begin(kept, aggregator, x.flatten(2).transpose(1, 2), mask)

    def read(self, state: PriorState) -> tuple[Tensor, ...] | None:
        """Keys and which of them exist, level after level; None before there are any."""
        keys = [self.memory.read(kept) for kept in state.keys]
        return None if None in keys else tuple(x for pair in keys for x in pair)

    def write(
        self, state: PriorState, maps: Sequence[Tensor], boxes: Tensor, valid: Tensor
    ) -> None:
        """After a frame: its maps [C, h, w] (enhanced where the memory wants it), its detections
        [D, 4] and which of them are validated [D]."""
        state.boxes, state.valid = boxes, valid
        for x, stride, aggregator, kept in self._levels(maps, state):
            if not self.memory.is_due(kept):
                continue
            mask = cells_in_boxes(boxes[None], valid[None], x.shape[-2:], stride)[0]
            self.memory.write(kept, aggregator, x.flatten(1).T, mask)

    def _levels(self, maps: Sequence[Tensor], state: PriorState) -> zip:
        return zip(maps, self.strides, self.aggregators, state.keys, strict=True)
