"""EOVOD as its description reads: one frame after the other, loops over cells and keys.

The detector's own parts (maps, head, suppression) are taken from the model under test; what lies
between them, and what is remembered, is computed here, as the config says.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from naive_video import taken
from torch import Tensor

from mmdet.models.detections import BatchDetections
from mmdet.structures import Clip

PAST_STRIDE = 10
DEFAULTS = dict(site='neck', levels=(0, 1, 2), branches='cls', queries='prior', update=False)
DEFAULTS.update(validate_on='score', score_thr=0.3, interval=0, margin=1)
Keys = dict[int, list[Tensor]]  # of each level


@dataclass
class NaiveFrame:
    """`looked`: how many cells took from keys; `levels` that the head ran on; None: all."""

    detections: BatchDetections
    levels: list[int] | None
    validated: int
    looked: int


class NaiveEovod:
    """The detector and the attention of a model that was made with this `change` of its config, in
    which no two parts have a key in common."""

    def __init__(self, model, change: dict) -> None:
        self.model, self.detector = model, model.detector
        parts = [v for k, v in change.items() if k != 'detector' and isinstance(v, dict)]
        self.cfg = {**DEFAULTS, **{k: v for part in parts for k, v in part.items()}}
        self.levels = () if model.location is None else self.cfg['levels']
        self.keys: Keys = {level: [] for level in self.levels}

    @torch.no_grad()
    def video(self, clips: list[Clip], refs: list[Clip]) -> Iterator[NaiveFrame]:
        """The frames of a video, which goes on with the keys of the one before it; `refs` are clips
        of one reference each."""
        cfg, find = self.cfg, self.detector.find
        for clip in refs:
            maps, shapes = self.encode(clip)
            self.remember(maps, self.validated(find(self.heads(maps), shapes))[0])
        prior, levels, since_full = [], [], None
        for t, clip in enumerate(clips):
            maps, shapes = self.encode(clip)
            full = since_full is None or since_full == cfg['interval'] or not levels
            enhanced, looked = self.enhanced(maps, prior)
            seen = self.heads(enhanced)
            plain = self.heads(maps) if cfg['branches'] == 'cls' else seen
            found = find(plain, shapes, seen, None if full else levels)
            prior, of_levels = self.validated(found)
            if cfg['update'] or (not refs and t % PAST_STRIDE == 0):
                self.remember(enhanced if cfg['update'] else maps, prior)
            yield NaiveFrame(found.detections, None if full else levels, len(prior), looked)
            since_full = 0 if full else since_full + 1
            if full:
                steps = range(-cfg['margin'], cfg['margin'] + 1)
                near = {level + d for level in of_levels for d in steps}
                levels = sorted(near & set(range(len(seen))))

    def encode(self, clip: Clip) -> tuple[list[Tensor], Tensor]:
        batch = self.model.data_preprocessor([clip])['batches'][0]
        maps = self.detector.encode(batch.images)
        maps = maps if self.cfg['site'] == 'backbone' else self.detector.feats(maps)
        return list(maps), batch.img_shapes

    def heads(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        """What the head sees of the maps of the site."""
        return self.detector.feats(tuple(maps)) if self.cfg['site'] == 'backbone' else tuple(maps)

    def enhanced(self, maps: list[Tensor], prior: list) -> tuple[list[Tensor], int]:
        out, looked = list(maps), 0
        modules = self.model.aggregators if self.levels else {}
        for level in [level for level in self.levels if self.keys[level]]:
            out[level], x = maps[level].clone(), maps[level]
            aggregator = modules[str(level) if str(level) in modules else '0']
            for i, j in cells(x):
                inside = [holds(box, i, j, self.stride(x), 0.8, x) for box in prior]
                if self.cfg['queries'] == 'all' or any(inside):
                    keys = torch.stack(self.keys[level])
                    out[level][:, :, i, j] += taken(aggregator, x[:, :, i, j], keys)
                    looked += 1
        return out, looked

    def validated(self, found) -> tuple[list[list[float]], list[int]]:
        """Boxes and levels of the detections that are above the threshold."""
        d, by_class = found.detections, self.cfg['validate_on'] == 'cls_score'
        scores = found.class_scores if by_class else d.scores
        sure = (d.valid[0] & (scores[0] > self.cfg['score_thr'])).nonzero()[:, 0]
        return d.boxes[0, sure].tolist(), d.levels[0, sure].tolist()

    def remember(self, maps: list[Tensor], boxes: list[list[float]]) -> None:
        for level in self.levels:
            x = maps[level]
            for i, j in cells(x):
                if any(holds(box, i, j, self.stride(x), 1.0, x) for box in boxes):
                    self.keys[level].append(x[0, :, i, j])

    def stride(self, x: Tensor) -> int:
        return 96 // x.shape[3]  # of images so wide


def cells(x: Tensor) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(x.shape[2]) for j in range(x.shape[3]))


def holds(box: list[float], i: int, j: int, stride: int, ratio: float, x: Tensor) -> bool:
    """Whether the centre of a cell lies in the scaled box, or the box's own centre in the cell."""
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_w, half_h = (box[2] - box[0]) * ratio / 2, (box[3] - box[1]) * ratio / 2
    inside = abs((j + 0.5) * stride - cx) <= half_w and abs((i + 0.5) * stride - cy) <= half_h
    row = min(max(int(cy / stride), 0), x.shape[2] - 1)
    column = min(max(int(cx / stride), 0), x.shape[3] - 1)
    return inside or (i, j) == (row, column)
