"""MAMBA (arXiv 2401.09923): attention to a bounded memory of the video, at two levels."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.base import VideoState
from mmdet.models.batch import ClipBatch
from mmdet.models.detectors.faster_rcnn import Feats
from mmdet.models.memory import MemoryBank
from mmdet.models.roi_heads.selsa_roi_head import MambaBBoxHead, SelsaBBoxHead
from mmdet.models.vid.detector_needs import need_one_map
from mmdet.models.vid.pixel_memory import PixelMemory
from mmdet.models.vid.references import check_has_references
from mmdet.models.vid.selsa import SELSA, FrameRegions, split_key_refs
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame


@dataclass
class MambaState(VideoState):
    """`instances`: a bank per region layer. `pixels`: a bank of map cells. Empty where unused."""

    instances: list[MemoryBank] = field(default_factory=list, repr=False)
    pixels: MemoryBank | None = field(default=None, repr=False)


@MODELS.register_module()
class MAMBA(SELSA):
    """SELSA on a memory instead of fixed references.

    At the first frame of a video the best regions of the references and of the frame itself are
    read, all of them, and fill the memory. Every later frame reads a random key set and writes its
    enhanced regions. Training is SELSA's, with fewer regions per reference.

    Args:
        detector: config of a `FasterRCNN`; a `MambaRoIHead` gives the instance level, a
            `StandardRoIHead` goes without.
        pixel_memory: config of a `PixelMemory` on the last backbone map; None for the released
            model, which has none.
        kwargs: `ref_batch`, `data_preprocessor`, `init_cfg` as in `SELSA`.
    """

    keeps_window = False

    def __init__(self, detector: dict, pixel_memory: dict | None = None, **kwargs) -> None:
        super().__init__(detector, **kwargs)
        self.pixel_memory: PixelMemory | None = MODELS.build(pixel_memory) if pixel_memory else None
        self.has_instances = isinstance(self.bbox_head, MambaBBoxHead)
        if not self.has_instances and self.pixel_memory is None:
            raise ConfigError(
                'MAMBA has neither level: give `detector.roi_head` a MambaRoIHead with a '
                'MambaBBoxHead, or set `pixel_memory`.'
            )
        if self.pixel_memory is not None:
            need_one_map(self.detector, 'MAMBA')
        if self.has_instances:
            self.refs_per_frame = self.bbox_head.topk

    def check_detector(self) -> None:
        head = self.bbox_head
        if isinstance(head, SelsaBBoxHead) and not isinstance(head, MambaBBoxHead):
            raise ConfigError(
                'MAMBA reads a memory, which a SelsaBBoxHead cannot: `model.detector.roi_head.'
                'bbox_head` must be a MambaBBoxHead, or a Shared2FCBBoxHead with a `pixel_memory`.'
            )

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        if self.has_instances:
            return super().loss(batch)
        check_has_references(batch, type(self).__name__)
        feats, _ = self.clip_feats(batch)
        return self.detector.loss_of(feats, batch)

    def clip_feats(self, batch: ClipBatch) -> tuple[Feats, Feats]:
        if self.pixel_memory is None:
            return super().clip_feats(batch)
        maps = self.detector.backbone(batch.images.flatten(0, 1))
        (key_maps,), (ref_maps,) = split_key_refs(maps, len(batch))
        refs = [frame for clip in batch.clips for frame in clip.refs]
        key_maps = self.pixel_memory.train_enhance(key_maps, ref_maps, refs)
        ref_feats = self.detector.neck((ref_maps,)) if self.has_instances else ()
        return self.detector.neck((key_maps,)), ref_feats

    def make_state(self, **common) -> MambaState:
        state = MambaState(**common)
        if self.has_instances:
            state.instances = self.bbox_head.make_memory(state.generator)
        if self.pixel_memory is not None:
            state.pixels = self.pixel_memory.make_memory(state.generator)
        return state

    def predict(self, batch: ClipBatch, states: list[MambaState]) -> list[Detections]:
        (state,), (clip,) = states, batch.clips
        if clip.frame_stride is not None:
            raise ConfigError(
                "MAMBA keeps a memory, not a window: set the test sampler's method to "
                "'test_with_adaptive_stride' (got 'test_with_fix_stride')."
            )
        if state.is_new:
            own, keys = self.begin(batch.images[0], clip, state)
        else:
            (own,) = self.compute_regions(batch.key_images, [clip.key], state)
            keys = state.instances
        found = self.detect(own, keys, clip.key)
        if self.pixel_memory is not None:
            self.pixel_memory.write(state.pixels, own.feat, found, clip.key)
        return [found]

    def begin(
        self, images: Tensor, clip: Clip, state: MambaState
    ) -> tuple[FrameRegions, list[Tensor]]:
        """Fill the memories from the references and the first frame itself.

        Returns the first frame's regions and the keys it sees: everything, no random subset.
        """
        if self.pixel_memory is None:
            own, *refs = self.regions_of(images, clip.frames, state)
        else:
            refs = self.regions_of(images[1:], clip.refs, state)
            self.remember_references(refs, clip.refs, state.pixels)
            (own,) = self.compute_regions(images[:1], [clip.key], state)
        keys = self.embed([*refs, own]) if self.has_instances else []
        for memory, rows in zip(state.instances, keys, strict=True):
            memory.update(rows)
        return own, keys

    def remember_references(
        self, refs: list[FrameRegions], frames: list[Frame], pixels: MemoryBank
    ) -> None:
        """Detect on every reference and write the cells of what was found."""
        keys = self.embed(refs) if self.has_instances and refs else []
        for regions, frame in zip(refs, frames, strict=True):
            found = self.detect(regions, keys, frame)
            self.pixel_memory.write(pixels, regions.feat, found, frame)

    def compute_regions(
        self, images: Tensor, frames: list[Frame], state: MambaState
    ) -> list[FrameRegions]:
        if self.pixel_memory is None:
            return super().compute_regions(images, frames, state)
        (maps,) = self.detector.backbone(images)
        if len(state.pixels):
            keys = state.pixels.sample()
            maps = torch.stack([self.pixel_memory.enhance(x, keys) for x in maps])
        regions = self.regions_from(self.detector.neck((maps,)), frames)
        for one, feat in zip(regions, maps, strict=True):
            one.feat = feat
        return regions
