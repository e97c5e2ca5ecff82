"""SELSA (arXiv 1907.06390): regions of the key frame attend to regions of the whole video.

Shapes: B clips of T frames, P proposals of a frame, C channels of the region head's layers.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.base import VideoState
from mmdet.models.batch import ClipBatch
from mmdet.models.detectors.faster_rcnn import Feats
from mmdet.models.vid.detector_needs import need_references_in_head
from mmdet.models.vid.references import ReferenceDetector, check_has_references
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame


@dataclass
class FrameRegions:
    """What is kept of a frame: enough to detect on it and to serve as a reference."""

    proposals: Tensor  # [P, 5]
    rows: Tensor  # [P, C] first-layer rows before the ReLU
    keys: list[Tensor] | None = None  # per layer [P, 2C], in a sliding window
    feat: Tensor | None = None  # [C', h, w] the backbone map, where a pixel memory wants it


@dataclass
class SelsaState(VideoState):
    """`keys`: the references' keys per layer (adaptive stride). `window`: their frames (fixed)."""

    keys: list[Tensor] = field(default_factory=list, repr=False)
    window: deque[FrameRegions] = field(default_factory=deque, repr=False)


@MODELS.register_module()
class SELSA(ReferenceDetector):
    """A Faster R-CNN whose region head takes from the regions of reference frames.

    In testing, references come with the first frame of a video (`test_with_adaptive_stride`) and
    are computed once: their keys hold for the whole video. With `test_with_fix_stride` they form a
    window that slides along. A video that starts without references has itself only.

    Args: those of `ReferenceDetector`; the `bbox_head` of the detector is a
        `SelsaBBoxHead`.
    """

    keeps_window = True
    refs_per_frame: int | None = None  # best proposals of a reference that are used; None for all

    def check_detector(self) -> None:
        super().check_detector()
        need_references_in_head(self.detector, type(self).__name__)

    @property
    def bbox_head(self) -> torch.nn.Module:
        return self.detector.roi_head.bbox_head

    # ---- training

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        check_has_references(batch, type(self).__name__)
        key_feats, ref_feats = self.clip_feats(batch)
        shapes = [clip.key.img_shape for clip in batch.clips]
        losses, proposals = self.detector.rpn_loss(key_feats, batch.gts, shapes)
        context = self.reference_keys(ref_feats, batch.clips)
        return losses | self.detector.roi_head.loss(key_feats, proposals, batch.gts, context)

    def clip_feats(self, batch: ClipBatch) -> tuple[Feats, Feats]:
        """Maps of the key frames [B, ...] and of all references [B * (T - 1), ...]."""
        feats = self.detector.extract_feat(batch.images.flatten(0, 1))
        return split_key_refs(feats, len(batch))

    def reference_keys(self, ref_feats: Feats, clips: list[Clip]) -> list[list[Tensor]]:
        """For every clip, the keys of its references per layer; gradient flows through them."""
        refs = len(ref_feats[0]) // len(clips)
        shapes = [clip.key.img_shape for clip in clips for _ in range(refs)]
        proposals = [p[: self.refs_per_frame] for p in self.detector.propose(ref_feats, shapes)]
        rows = self.detector.roi_head.rows(ref_feats, proposals)
        return [
            self.bbox_head.embed(torch.cat(rows[i : i + refs])) for i in range(0, len(rows), refs)
        ]

    # ---- testing

    def make_state(self, **common) -> SelsaState:
        return SelsaState(**common)

    def predict(self, batch: ClipBatch, states: list[SelsaState]) -> list[Detections]:
        (state,), (clip,) = states, batch.clips
        images = batch.images[0]
        if clip.frame_stride is not None:
            own = self.slide(state, clip, images)
            keys = [torch.cat(layer) for layer in zip(*(r.keys for r in state.window), strict=True)]
        else:
            frames = clip.frames if state.is_new else [clip.key]
            own, *refs = self.regions_of(images, frames, state)
            if refs:
                state.keys = self.embed(refs)
            keys = self.embed([own])
            if state.keys:
                keys = [torch.cat(layer) for layer in zip(state.keys, keys, strict=True)]
        return [self.detect(own, keys, clip.key)]

    def slide(self, state: SelsaState, clip: Clip, images: Tensor) -> FrameRegions:
        """Move the window to the key frame, which is its slot `num_left_refs`; its regions.

        The window is filled at the first frame and takes one frame per stride later; the key frame
        is then in it and not computed again. Between, it is computed and takes the slot.
        """
        if state.is_new and not clip.refs:
            raise ConfigError(
                f'Video {state.video_id} starts at frame {clip.key.frame_id} without references, '
                f"which a window ('test_with_fix_stride') needs. Start at frame 0 with them, or "
                f"use 'test_with_adaptive_stride'."
            )
        if clip.refs:
            new = self.regions_of(images[1:], clip.refs, state)
        else:
            new = self.regions_of(images, [clip.key], state)
        for regions in new:
            regions.keys = regions.keys or self.embed([regions])
        if state.is_new:
            state.window = deque(new, maxlen=len(new))
        elif clip.refs:
            state.window.extend(new)
        else:
            state.window[clip.num_left_refs] = new[0]
        return state.window[clip.num_left_refs]

    def regions_of(
        self, images: Tensor, frames: list[Frame], state: VideoState
    ) -> list[FrameRegions]:
        """Regions of every frame of a clip [T, 3, H, W]; a frame that repeats is computed once."""
        first: dict[int, int] = {}
        for i, frame in enumerate(frames):
            first.setdefault(frame.frame_id, i)
        done: dict[int, FrameRegions] = {}
        unique = list(first.values())
        for start in range(0, len(unique), self.ref_batch):
            chunk = unique[start : start + self.ref_batch]
            chosen = [frames[i] for i in chunk]
            found = self.compute_regions(images[chunk], chosen, state)
            done.update(zip((f.frame_id for f in chosen), found, strict=True))
        return [done[frame.frame_id] for frame in frames]

    def compute_regions(
        self, images: Tensor, frames: list[Frame], state: VideoState
    ) -> list[FrameRegions]:
        """Backbone to first-layer rows for a few frames [n, 3, H, W] at once.

        SELSA sees each frame alone; methods whose maps depend on the video read its `state`.
        """
        return self.regions_from(self.detector.extract_feat(images), frames)

    def regions_from(self, feats: Feats, frames: list[Frame]) -> list[FrameRegions]:
        """Proposals and first-layer rows of every frame, given their maps."""
        proposals = self.detector.propose(feats, [frame.img_shape for frame in frames])
        rows = self.detector.roi_head.rows(feats, proposals)
        return [FrameRegions(p, r) for p, r in zip(proposals, rows, strict=True)]

    def embed(self, refs: list[FrameRegions]) -> list[Tensor]:
        """Keys and values of these frames as references, per layer [sum M, 2C]."""
        return self.bbox_head.embed(torch.cat([r.rows[: self.refs_per_frame] for r in refs]))

    def detect(self, own: FrameRegions, keys: list, frame: Frame) -> Detections:
        """Detections of a frame whose regions see `keys`."""
        logits, deltas = self.bbox_head.classify(own.rows, keys)
        return self.detector.roi_head.detections(logits, deltas, own.proposals, frame)


def split_key_refs(feats: Feats, num_clips: int) -> tuple[Feats, Feats]:
    """Maps [B * T, ...] as those of the key frames [B, ...] and of the references."""
    clips = [x.unflatten(0, (num_clips, -1)) for x in feats]
    return tuple(x[:, 0] for x in clips), tuple(x[:, 1:].flatten(0, 1) for x in clips)
