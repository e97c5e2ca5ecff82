"""EOVOD (ECCV 2022, arXiv 2402.09241): one-stage detectors with location and size priors.

Shapes: B key frames, N images, D detections of a frame.

    images -> backbone -> [location prior] -> neck -> [location prior] -> head on some levels

The location prior stands at one of the two places; the size prior chooses the levels. Either may be
absent.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.base import BaseVideoDetector, VideoState
from mmdet.models.batch import ClipBatch, ground_truth
from mmdet.models.contexts.base import stack_keys
from mmdet.models.contexts.cells import cells_in_boxes
from mmdet.models.contexts.key_cells import BankedKeys, Keys
from mmdet.models.contexts.location_prior import LocationPrior, PriorState, Validation
from mmdet.models.contexts.size_prior import SizePrior, SizeState
from mmdet.models.contexts.training_keys import keys_in_objects, random_keys
from mmdet.models.detections import BatchDetections
from mmdet.models.detectors.base import Maps
from mmdet.models.detectors.one_stage import OneStageDetector
from mmdet.models.vid import eovod_parts as parts
from mmdet.models.vid import requirements
from mmdet.plans import Plan, sampler_plan
from mmdet.registry import MODELS

LOCATION, SIZE = 'location', 'size'  # in the state of a video
Levels = tuple[int, ...] | None


@MODELS.register_module()
class EOVOD(BaseVideoDetector):
    """A one-stage detector that looks where objects were, on levels that held objects.

    Args:
        detector: config of an `OneStageDetector` (FCOS, YOLOX, CenterNet).
        location_prior: `queries`, `box_ratio`, `max_queries` of a `LocationPrior`; `score_thr` and
            `validate_on` of `Validation`; `train_plain_prob`, `train_drop_prob`, `train_jitter`,
            `train_distractors` of a `TrainingPrior`. None: no attention, the size prior alone.
        size_prior: `interval` and `margin` of a `SizePrior`; None: every frame runs all levels.
        memory: `update=False`: cells of the references, `num_keys` of a level at most;
            `update=True`: a bank with `max_length`, `key_length`, `cells_per_frame`.
            `train_keys`: random cells of each reference that are keys in training, instead of
            those in its objects.
        aggregator: `num_heads`; `shared`: one for all levels; `site`, `levels`, `branches` of a
            `PriorSite`.
        ref_batch: references per pass at the start of a video.
        legacy_reset: test as the released model does, for comparisons with it: a video goes on with
            the bank of the one before it unless the number of its folder is a multiple of 1000.
            Results then depend on the order of the videos and on the number of processes.
        data_preprocessor, init_cfg: as in every model.
    """

    fixed_size = True

    def __init__(
        self,
        detector: dict,
        location_prior: dict | None = None,
        size_prior: dict | None = None,
        memory: dict | None = None,
        aggregator: dict | None = None,
        ref_batch: int = 4,
        legacy_reset: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.detector = requirements.detector_of(OneStageDetector, MODELS.build(detector), 'EOVOD')
        self.ref_batch = ref_batch
        self.validation = Validation()
        self.location: LocationPrior | None = None
        if location_prior is not None:
            self._add_location_prior(location_prior, memory or {}, aggregator or {})
        self.size: SizePrior | None = None
        if size_prior is not None:
            self.size = parts.size_prior(size_prior, self.detector)
        self.legacy_reset = legacy_reset
        if legacy_reset and not isinstance(getattr(self.location, 'memory', None), BankedKeys):
            raise ConfigError(
                'legacy_reset=True carries a bank from video to video, and there is none: set '
                'memory=dict(update=True) and a location_prior, or leave legacy_reset out.'
            )
        self.register_load_state_dict_pre_hook(parts.rename_released)

    def _add_location_prior(self, location: dict, memory: dict, aggregator: dict) -> None:
        cfg, self.validation, self.training_prior = parts.location_settings(location)
        kept, self.train_keys = parts.key_memory(memory)
        self.site, self.aggregators = parts.site_and_aggregators(aggregator, self.detector)
        self.location = parts.location_prior(cfg, self.site, self.aggregators, kept)

    # ---- which frames

    def plan(self, mode: str, ref_img_sampler: dict | None) -> Plan | None:
        """In causal testing a video begins without references and keeps cells of its own past."""
        if mode == 'causal' or self.location is None:
            return None
        plan = sampler_plan(ref_img_sampler)
        if plan is not None and plan.in_order:
            raise ConfigError(
                "EOVOD keeps no window of frames: set the test sampler's method to "
                "'test_with_adaptive_stride' (got 'test_with_fix_stride')."
            )
        return plan

    # ---- training

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        shapes = batch.take(batch.img_shapes, batch.key_rows)
        if self.location is None:
            maps = self.detector.encode(batch.take(batch.images, batch.key_rows))
            return self.detector.losses(self.detector.feats(maps), batch.gt, shapes)
        requirements.references(batch, 'EOVOD', 1)
        places = [clip.places('ref') for clip in batch.clips]
        ref_rows = [row for i, p in enumerate(places) for row in batch.rows(i, p)]
        used = sorted({*batch.key_rows, *ref_rows})  # an image that serves twice is computed once
        encoded = self.site.encode(batch.take(batch.images, used))
        key_maps, ref_maps = (
            tuple(batch.take(x, [used.index(row) for row in rows]) for x in encoded)
            for rows in (batch.key_rows, ref_rows)
        )
        keys = self._training_keys(batch, places, self.site.seen(ref_maps))
        boxes, valid = self.training_prior.boxes(batch.gt, shapes)
        enhanced = self.location.enhance(self.site.seen(key_maps), boxes, valid, keys)
        feats, cls_feats = self.site.head_feats(key_maps, enhanced)
        return self.detector.losses(feats, batch.gt, shapes, cls_feats)

    def _training_keys(self, batch: ClipBatch, places: list[list[int]], maps: Maps) -> list[Keys]:
        """Keys of each level, of the references of each clip."""
        refs, most, keys = len(places[0]), self.location.memory.num_keys, []
        frames = [clip.frames[p] for clip, ps in zip(batch.clips, places, strict=True) for p in ps]
        gt = ground_truth(frames, maps[0].device, batch.scale) if self.train_keys is None else None
        levels = zip(self.location.aggregators, maps, self.site.strides, strict=True)
        for aggregator, x, stride in levels:
            if gt is None:
                keys.append(random_keys(aggregator, x, refs, self.train_keys))
            else:
                mask = cells_in_boxes(gt.boxes, gt.valid, x.shape[-2:], stride)
                keys.append(keys_in_objects(aggregator, x, mask, refs, most))
        return keys

    # ---- testing

    def init_state(self, video_id: int = 0, seed: int = 0) -> VideoState:
        state = super().init_state(video_id, seed)
        if self.location is not None:
            state.contexts[LOCATION] = self.location.init_state(state.generator)
        if self.size is not None:
            state.contexts[SIZE] = SizeState()
        return state

    def carry_over(self, state: VideoState, before: VideoState | None, path: str) -> None:
        """With `legacy_reset`: what a video that begins takes from the one that ended.

        Args:
            path: of its first frame.
        """
        if before is not None and not parts.resets_memory(path):
            state.contexts[LOCATION].keys = before.contexts[LOCATION].keys

    def detect_batch(self, batch: ClipBatch, states: list[VideoState]) -> BatchDetections:
        """References first, where a video begins; backbones of all frames at once; then the frames
        of each video in their order, those of different videos together."""
        if self.legacy_reset and len(set(map(id, states))) > 1:
            raise ConfigError(
                'legacy_reset=True takes one video after the other, and got frames of several at '
                'once: set test_dataloader.batch_size=1.'
            )
        for i, state in enumerate(states):
            if self.location is not None and not state.begun:
                self._begin(batch, i, state.contexts[LOCATION])
            state.begun = True
        images, shapes = (batch.take(x, batch.key_rows) for x in (batch.images, batch.img_shapes))
        encoded = self.static(self.encode_images, images)
        order, detected = [], []
        for levels, members in self._turns(states):
            maps = tuple(batch.take(x, members) for x in encoded)
            turn = [states[i] for i in members]
            detected.append(self._step(levels, turn, maps, batch.take(shapes, members)))
            order += members
        places = [order.index(i) for i in range(len(order))]
        return BatchDetections(
            *(batch.take(torch.cat(x), places) for x in zip(*detected, strict=True))
        )

    def encode_images(self, images: Tensor) -> Maps:
        """Static part: what is computed of a frame alone."""
        if self.location is None:
            return self.detector.feats(self.detector.encode(images))
        return self.site.encode(images)

    def _begin(self, batch: ClipBatch, i: int, state: PriorState) -> None:
        """Detect on the references of a video and keep the cells of what was found."""
        rows = batch.rows(i, batch.clips[i].places('ref'))
        if not rows:
            return
        distinct = sorted(set(rows))
        encoded, boxes, valid = [], [], []
        for first in range(0, len(distinct), self.ref_batch):
            chunk = distinct[first : first + self.ref_batch]
            maps = self.site.encode(batch.take(batch.images, chunk))
            dense = self.detector.find(self.site.feats(maps), batch.take(batch.img_shapes, chunk))
            encoded.append(self.site.seen(maps))
            boxes.append(dense.detections.boxes)
            valid.append(self.validation(dense))
        places = [distinct.index(row) for row in rows]
        maps = tuple(batch.take(torch.cat(x), places) for x in zip(*encoded, strict=True))
        boxes, valid = (batch.take(torch.cat(x), places) for x in (boxes, valid))
        self.location.begin(state, maps, boxes, valid)

    def _turns(self, states: list[VideoState]) -> Iterator[tuple[Levels, list[int]]]:
        """Frames that go together: of different videos, on the same levels. Lazily, since the
        levels of a frame follow from the one before it."""
        waiting = list(range(len(states)))
        while waiting:
            first: dict[int, int] = {}
            for i in waiting:
                first.setdefault(id(states[i]), i)
            groups: dict[Levels, list[int]] = {}
            for i in first.values():
                levels = self.size.levels(states[i].contexts[SIZE]) if self.size else None
                groups.setdefault(levels, []).append(i)
            yield from groups.items()
            waiting = [i for i in waiting if i not in first.values()]

    def _step(
        self, levels: Levels, states: list[VideoState], maps: Maps, shapes: Tensor
    ) -> tuple[Tensor, ...]:
        """Read the states, compute a frame of each, write the states; five tensors of the
        detections."""
        prior = self._read(states, shapes) if self.location is not None else ()
        out = self.static(self._finder(levels, len(maps)), shapes, *maps, *prior)
        detections, valid, enhanced = out[:5], out[5], out[6:]
        for i, state in enumerate(states):
            if self.location is not None:
                seen = [x[i] for x in enhanced or self.site.seen(maps)]
                boxes, validated = detections[0][i].clone(), valid[i].clone()
                self.location.write(state.contexts[LOCATION], seen, boxes, validated)
            if self.size is not None and levels is None:
                of_levels = torch.where(valid[i], detections[4][i], -1)
                self.size.update_full(state.contexts[SIZE], of_levels)
            elif self.size is not None:
                self.size.update_partial(state.contexts[SIZE])
        return tuple(x.clone() for x in detections)

    def _read(self, states: list[VideoState], shapes: Tensor) -> tuple[Tensor, ...]:
        """Boxes [B, D, 4] and which of them are validated [B, D], of the frames before; then keys
        and which of them exist, level after level; () without any keys."""
        priors = [state.contexts[LOCATION] for state in states]
        none = [None] * (2 * len(self.site.levels))
        levels = zip(*(self.location.read(s) or none for s in priors), strict=True)
        stacked = []
        for keys, valid in zip(*[iter(levels)] * 2, strict=True):
            pairs = [None if k is None else (k, v) for k, v in zip(keys, valid, strict=True)]
            stacked += stack_keys(pairs)
        if not stacked:
            return ()
        most = self.detector.bbox_head.test_cfg['max_per_img']
        no_boxes, no_valid = shapes.new_zeros(most, 4), shapes.new_zeros(most, dtype=torch.bool)
        boxes = torch.stack([no_boxes if s.boxes is None else s.boxes for s in priors])
        valid = torch.stack([no_valid if s.valid is None else s.valid for s in priors])
        return (boxes, valid, *stacked)

    def _finder(self, levels: Levels, num_maps: int) -> Callable[..., tuple[Tensor, ...]]:
        """The static part that runs these levels; a name of its own tells recordings apart."""
        finder = partial(self._find, levels, num_maps)
        finder.__name__ = f'find_{"all" if levels is None else "_".join(map(str, levels))}'
        return finder

    def _find(
        self, levels: Levels, num_maps: int, shapes: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """From maps to detections, what is validated of them, and the enhanced maps for a memory
        that keeps such.

        Args:
            tensors: maps, as many as `num_maps`, then what `_read` gives.
        """
        maps, prior = tensors[:num_maps], tensors[num_maps:]
        enhanced: list[Tensor] = []
        if self.location is None:
            feats = cls_feats = maps
        elif not prior:
            feats = cls_feats = self.site.feats(maps)
        else:
            boxes, valid, *keys = prior
            pairs = list(zip(keys[::2], keys[1::2], strict=True))
            needed = None if self.location.memory.writes_enhanced else self.site.needed(levels)
            enhanced = self.location.enhance(self.site.seen(maps), boxes, valid, pairs, needed)
            feats, cls_feats = self.site.head_feats(maps, enhanced)
        dense = self.detector.find(feats, shapes, cls_feats, levels)
        d = dense.detections
        written = enhanced if enhanced and self.location.memory.writes_enhanced else []
        return (d.boxes, d.scores, d.labels, d.valid, d.levels, self.validation(dense), *written)
