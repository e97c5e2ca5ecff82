"""The way of a frame in testing, from clips to detections, with the states of their videos.

    begin: the references of videos that are new
    encode: backbone to region features, of all frames at once (static)
    classify: what each frame reads, the region head, suppression (static), what it writes

Where what a frame reads depends on what was found before it, frames of one video take turns in the
last step; those of different videos still share it.

Shapes: B clips, n frames, N images.
"""

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.base import VideoState
from mmdet.models.batch import ClipBatch
from mmdet.models.contexts.base import FrameRegions, stack_keys
from mmdet.models.detections import BatchDetections
from mmdet.models.detectors.base import Maps
from mmdet.models.static import passing_shapes
from mmdet.models.vid.temporal_flow import TemporalFlow
from mmdet.models.vid.turns import in_order, turns

if TYPE_CHECKING:
    from mmdet.models.vid.video_model import VideoModel

PROMPTS, PIXELS, REGIONS = 'prompts', 'pixels', 'regions'  # stages, in the state of a video
# references at a time at the start of a video
REFS_PER_PASS_ON_CPU, REFS_PER_PASS_ON_GPU = 2, 16


class FrameFlow:
    """Drives the contexts of a model.

    Args:
        model: holds the detector and its contexts.
        ref_batch: references per pass at the start of a video; None: as the device suggests.
    """

    def __init__(self, model: 'VideoModel', ref_batch: int | None) -> None:
        self.model = model
        self.ref_batch = ref_batch
        self.temporal = TemporalFlow(model)

    def detect(self, batch: ClipBatch, states: list[VideoState]) -> BatchDetections:
        model = self.model
        begins = _first_of_new(states)
        if model.prompts is not None:
            for i in begins:
                with passing_shapes():
                    model.prompts.begin(batch, i, states[i].contexts[PROMPTS], self._chunk(batch))
        if model.pixel_memory is not None:
            images = batch.take(batch.images, batch.key_rows)
            maps = model.static(self.encode_maps, images, *self._prompts(states))
            detections = self._in_turns(batch, states, begins, maps)
        elif self._slides(batch, states):
            detections = self._in_windows(batch, states)
        else:
            regions = self._encode(batch, states, [[row] for row in batch.key_rows])
            if model.regions is not None and model.regions.sequential:
                detections = self._in_turns(batch, states, begins, regions.tensors())
            else:
                every = list(range(len(states)))
                self._begin_regions(batch, states, every, begins, regions)
                detections = self._classify(batch, every, states, regions)
        for i in begins:
            states[i].begun = True
        return detections

    def _slides(self, batch: ClipBatch, states: list[VideoState]) -> bool:
        """Whether the clips move windows of the region context.

        Raises:
            ConfigError: they bring frames of a window, and there is none.
        """
        context = self.model.regions
        if context is not None:
            clips = zip(batch.clips, states, strict=True)
            if any(context.slides(clip, state.contexts[REGIONS]) for clip, state in clips):
                return True
        if any(clip.places('window') for clip in batch.clips):
            raise ConfigError(
                f"{type(self.model).__name__} keeps no window of frames: set the test sampler's "
                f"method to 'test_with_adaptive_stride' (got 'test_with_fix_stride')."
            )
        return False

    def _encode(
        self,
        batch: ClipBatch,
        states: list[VideoState],
        rows: list[list[int]],
        chunk: int | None = None,
    ) -> FrameRegions | None:
        """Regions of some images of every clip, clip after clip; each image is computed once.

        Args:
            rows: of these images, a list for each clip.
            chunk: images per pass; None: all at once.
        """
        if self.model.temporal is not None:  # windows end at the key frame: nothing else is new
            regions = FrameRegions.of(*self.temporal.regions(batch, states))
            return regions.take(batch, [i for i, own in enumerate(rows) for _ in own])
        state_of = {row: state for own, state in zip(rows, states, strict=True) for row in own}
        distinct = list(state_of)
        if not distinct:
            return None
        chunk = chunk or len(distinct)

        def inputs(some: list[int]) -> tuple[Tensor, ...]:
            prompts = self._prompts([state_of[row] for row in some])
            return *(batch.take(x, some) for x in (batch.images, batch.img_shapes)), *prompts

        if len(distinct) <= chunk:
            regions = FrameRegions.of(*self.model.static(self.encode_regions, *inputs(distinct)))
        else:  # the start of a video, whose shapes do not come again
            with passing_shapes():
                parts = [
                    FrameRegions.of(*self.encode_regions(*inputs(distinct[start : start + chunk])))
                    for start in range(0, len(distinct), chunk)
                ]
            regions = FrameRegions.cat(parts)
        return regions.take(batch, [distinct.index(row) for own in rows for row in own])

    # ---- the start of a video

    def _chunk(self, batch: ClipBatch) -> int:
        on_gpu = batch.images.is_cuda
        return self.ref_batch or (REFS_PER_PASS_ON_GPU if on_gpu else REFS_PER_PASS_ON_CPU)

    def _begin_regions(
        self,
        batch: ClipBatch,
        states: list[VideoState],
        clips: list[int],
        new: list[int],
        regions: FrameRegions,
    ) -> None:
        """Give the region context the references of new videos and their first frames.

        Args:
            clips: those that `regions` holds a frame of, `new` among them.
        """
        if self.model.regions is None:
            return
        for i in new:
            at = clips.index(i)
            refs = self._references(batch, i, states[i])
            state = states[i].contexts[REGIONS]
            self.model.regions.begin(state, refs[1] if refs else None, regions[at : at + 1])

    def _references(
        self, batch: ClipBatch, i: int, state: VideoState, with_key: bool = False
    ) -> tuple[Maps, FrameRegions] | None:
        """Backbone maps and regions of a clip's references, each image computed once.

        Args:
            with_key: the key frame is one of them, the last.
        """
        places = batch.clips[i].places('ref') + [0] * with_key
        if not places:
            return None
        rows = batch.rows(i, places)
        distinct = sorted(set(rows))
        maps, regions = [], []
        for start in range(0, len(distinct), self._chunk(batch)):
            some = distinct[start : start + self._chunk(batch)]
            prompts = self._prompts([state] * len(some), of_references=True)
            with passing_shapes():
                maps.append(self.encode_maps(batch.take(batch.images, some), *prompts))
                feats = self.model.detector.feats(maps[-1])
                shapes = batch.take(batch.img_shapes, some)
                regions.append(self.model.regions_of(feats, shapes))
        order = [distinct.index(row) for row in rows]
        kept = maps if self.model.pixel_memory is not None else []
        return (
            tuple(batch.take(torch.cat(level), order) for level in zip(*kept, strict=True)),
            FrameRegions.cat(regions).take(batch, order),
        )

    def _prompts(self, states: list[VideoState], of_references: bool = False) -> tuple[Tensor, ...]:
        """(prompts [n, P, D],) for a frame of each state; () where there are none."""
        prompts = self.model.prompts
        if prompts is None or (of_references and not self.model.references_are_prompted):
            return ()
        return (prompts.read([state.contexts[PROMPTS] for state in states]),)

    # ---- static parts

    def encode_maps(self, images: Tensor, *prompts: Tensor) -> Maps:
        """Backbone maps of images [n, 3, H, W]."""
        return self.model.detector.encode(images, **({'prompts': prompts[0]} if prompts else {}))

    def encode_regions(
        self, images: Tensor, img_shapes: Tensor, *prompts: Tensor
    ) -> tuple[Tensor, ...]:
        """From images to proposals and first-layer features, as `FrameRegions.tensors`."""
        feats = self.model.detector.feats(self.encode_maps(images, *prompts))
        return self.model.regions_of(feats, img_shapes).tensors()

    def enhance_regions(
        self, maps: Tensor, img_shapes: Tensor, keys: Tensor, valid: Tensor
    ) -> tuple[Tensor, ...]:
        """From backbone maps to enhanced ones and to regions of these."""
        maps = self.model.pixel_memory.enhance(maps, keys, valid)
        feats = self.model.detector.feats((maps,))
        return (maps, *self.model.regions_of(feats, img_shapes).tensors())

    def classify(
        self,
        boxes: Tensor,
        scores: Tensor,
        valid: Tensor,
        roi_feats: Tensor,
        img_shapes: Tensor,
        *read: Tensor,
    ) -> tuple[Tensor, ...]:
        """From regions and what their frames read to detections and what is to be written."""
        key = FrameRegions.of(boxes, scores, valid, roi_feats)
        regions, head = self.model.regions, self.model.detector.roi_head
        keys = regions.keys(key, read) if regions is not None else None
        logits, deltas, layers = head.bbox_head.classify(roi_feats, keys, boxes)
        detections = head.detections(logits, deltas, key.proposals, img_shapes)
        written = regions.written(key, layers) if regions is not None else ()
        return (detections.boxes, detections.scores, detections.labels, detections.valid, *written)

    # ---- what depends on the order of frames

    def _classify(
        self,
        batch: ClipBatch,
        clips: list[int],
        states: list[VideoState],
        regions: FrameRegions,
        read: tuple[Tensor, ...] | None = None,
    ) -> BatchDetections:
        """Detections on one frame of each of these clips; writes what the contexts remember."""
        context = self.model.regions
        own = [states[i].contexts.get(REGIONS) for i in clips]
        if read is None:
            read = context.read_all(own) if context is not None else ()
        shapes = batch.take(batch.img_shapes, [batch.key_rows[i] for i in clips])
        tensors = (*regions.tensors(), shapes, *read)
        outputs = self.model.static(self.classify, *tensors)
        if context is not None:
            context.write(own, outputs[4:])
        return BatchDetections(*outputs[:4])

    def _in_turns(
        self,
        batch: ClipBatch,
        states: list[VideoState],
        begins: list[int],
        encoded: tuple[Tensor, ...],
    ) -> BatchDetections:
        """The first frames of all videos, then their second ones, ...

        Args:
            encoded: regions of the key frames, or their maps where a pixel memory enhances these.
        """
        rounds = turns(states)
        parts = []
        for clips in rounds:
            some = tuple(batch.take(x, clips) for x in encoded)
            new = [i for i in clips if i in begins]
            if self.model.pixel_memory is not None:
                part = self._pixel_turn(batch, states, clips, new, some)
            else:
                regions = FrameRegions.of(*some)
                self._begin_regions(batch, states, clips, new, regions)
                part = self._classify(batch, clips, states, regions)
            parts.append((clips, _kept(part, len(rounds))))
        return BatchDetections(*in_order(batch, parts))

    def _pixel_turn(
        self,
        batch: ClipBatch,
        states: list[VideoState],
        clips: list[int],
        new: list[int],
        maps: Maps,
    ) -> BatchDetections:
        """One frame of each clip, whose map reads the cells of earlier ones."""
        memory = self.model.pixel_memory
        for i in new:
            self._begin_pixels(batch, i, states[i])
        banks = [states[i].contexts[PIXELS] for i in clips]
        shapes = batch.take(batch.img_shapes, [batch.key_rows[i] for i in clips])
        keys, valid = memory.read(banks)
        enhanced, *regions = self.model.static(self.enhance_regions, *maps, shapes, keys, valid)
        regions = FrameRegions.of(*regions)
        self._begin_regions(batch, states, clips, new, regions)
        detections = self._classify(batch, clips, states, regions)
        memory.write(banks, enhanced, detections, shapes)
        return detections

    def _begin_pixels(self, batch: ClipBatch, i: int, state: VideoState) -> None:
        """Detect on the references and the first frame without a memory; remember their cells."""
        (maps,), regions = self._references(batch, i, state, with_key=True)
        shapes = batch.take(batch.img_shapes, [batch.key_rows[i]]).expand(len(maps), 2)
        context, read = self.model.regions, ()
        if context is not None:
            keys = context.keys_of_refs(regions, len(regions))
            layers = [layer.expand(len(maps), -1, -1) for layer in keys.layers]
            read = (*layers, keys.valid.expand(len(maps), -1))
        detections = BatchDetections(*self.classify(*regions.tensors(), shapes, *read)[:4])
        bank = state.contexts[PIXELS]
        self.model.pixel_memory.write([bank] * len(maps), maps, detections, shapes)

    def _in_windows(self, batch: ClipBatch, states: list[VideoState]) -> BatchDetections:
        """Every window slides to its key frame, one clip after the other; then all are classified.

        Where a window holds what was computed of earlier frames, those of a video take turns.
        """
        context = self.model.regions
        rows = [batch.rows(i, context.places(clip)) for i, clip in enumerate(batch.clips)]
        regions = self._encode(batch, states, rows, self._chunk(batch))
        ends = list(itertools.accumulate(map(len, rows)))
        rounds = turns(states) if context.sequential else [list(range(len(states)))]
        parts = []
        for clips in rounds:
            own, reads = [], []
            for i in clips:
                new = regions[ends[i] - len(rows[i]) : ends[i]].copy() if rows[i] else None
                window = states[i].contexts[REGIONS]
                own.append(context.slide(window, batch.clips[i], new))
                reads.append(context.read(window))
            part = self._classify(batch, clips, states, FrameRegions.cat(own), stack_keys(reads))
            parts.append((clips, _kept(part, len(rounds))))
        return BatchDetections(*in_order(batch, parts))


def _first_of_new(states: list[VideoState]) -> list[int]:
    """Where the videos begin that no frame was seen of."""
    first = {id(state): i for i, state in reversed(list(enumerate(states)))}
    return [i for i, state in enumerate(states) if first[id(state)] == i and not state.begun]


def _kept(detections: BatchDetections, rounds: int) -> tuple[Tensor, ...]:
    """Its tensors; with more than one round own ones, as the next overwrites what a replay gave."""
    tensors = detections.boxes, detections.scores, detections.labels, detections.valid
    return tensors if rounds == 1 else tuple(x.clone() for x in tensors)
