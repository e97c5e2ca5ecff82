"""SELSA on a prompted backbone: references give prompts to the backbone and rows to the regions.

1.x has this model; no paper or README gives a result of it. Shapes: B clips of a key frame and R
references, P prompts of width D.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.base import VideoState
from mmdet.models.batch import ClipBatch
from mmdet.models.detectors.faster_rcnn import Feats
from mmdet.models.vid.references import check_has_references
from mmdet.models.vid.selsa import SELSA, FrameRegions, SelsaState, split_key_refs
from mmdet.models.vid.stpn import STPN, StpnState
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame


@dataclass
class StpnSelsaState(SelsaState, StpnState):
    """The prompts of the video, and the references' keys or the window that SELSA keeps."""


@MODELS.register_module()
class STPNSelsa(SELSA, STPN):
    """A detector whose backbone sees prompts and whose regions see those of the references.

    With `extra_frames` (the released configs) each reference does one of the two. In training the
    first half makes the prompts, without gradient; the key frame and the other half are computed
    with them. In testing the references at odd places (refs[1::2]) make the prompts, once per
    video, and those at even places are computed with them and become SELSA's references. A sliding
    window (`test_with_fix_stride`) keeps all of its frames, prompted by those it starts with.

    Without, every reference does both: it is computed without prompts, with gradient, and its
    last map makes the prompts of the key frame.

    Args:
        detector: config of a `FasterRCNN` on an `STPNSwinTransformer` with a `SelsaRoIHead`.
        prompt_predictor: config of what makes prompts of the references' last maps.
        extra_frames: see above.
        kwargs: `support_eval` as in `STPN`, the others as in `ReferenceDetector`.
    """

    together = False  # SELSA takes the frames of a video in turn

    def __init__(
        self, detector: dict, prompt_predictor: dict, extra_frames: bool = True, **kwargs
    ) -> None:
        super().__init__(detector, prompt_predictor=prompt_predictor, **kwargs)
        self.extra_frames = extra_frames
        self.keeps_window = extra_frames

    def clip_feats(self, batch: ClipBatch) -> tuple[Feats, Feats]:
        refs = batch.images[:, 1:]
        if not self.extra_frames:
            maps = self.detector.backbone(refs.flatten(0, 1))
            prompts = self.prompt_predictor(maps[-1].unflatten(0, refs.shape[:2]))
            return self.prompted(batch.key_images, prompts), self.detector.neck(maps)
        check_has_references(batch, type(self).__name__, least=2)
        half = refs.shape[1] // 2
        prompts = self.prompt_predictor(self.support(refs[:, :half]))
        images = torch.cat([batch.images[:, :1], refs[:, half:]], dim=1)
        prompts = prompts.repeat_interleave(images.shape[1], dim=0)
        return split_key_refs(self.prompted(images.flatten(0, 1), prompts), len(batch))

    def make_state(self, **common) -> StpnSelsaState:
        return StpnSelsaState(**common)

    def predict(self, batch: ClipBatch, states: list[StpnSelsaState]) -> list[Detections]:
        (state,), (clip,) = states, batch.clips
        if state.prompt is None and self.extra_frames:
            batch = self.begin(batch, clip, state)
        elif state.prompt is None:
            batch = self.begin_unprompted(batch, clip, state)
        return super().predict(batch, states)

    def begin(self, batch: ClipBatch, clip: Clip, state: StpnSelsaState) -> ClipBatch:
        """Make the prompts of the video; what is left for SELSA of its first clip."""
        support = batch.images[:, 2::2] if len(clip.refs) > 1 else batch.images[:, -1:]
        state.prompt = self.prompt_predictor(self.support(support)[0])
        if clip.frame_stride is not None:
            return batch
        return part_of(batch, [0, *range(1, len(clip.frames), 2)])

    def begin_unprompted(self, batch: ClipBatch, clip: Clip, state: StpnSelsaState) -> ClipBatch:
        """The same without `extra_frames`: the references are computed before the prompts."""
        if clip.frame_stride is not None:
            raise ConfigError(
                'STPNSelsa(extra_frames=False) prompts the key frame only and keeps no window: set '
                "the test sampler's method to 'test_with_adaptive_stride' (got "
                "'test_with_fix_stride')."
            )
        if clip.refs:
            refs = self.regions_of(batch.images[0, 1:], clip.refs, state)
            state.keys = self.embed(refs)
        support = batch.images[:, 1:] if clip.refs else batch.images
        state.prompt = self.prompt_predictor(self.support(support)[0])
        return part_of(batch, [0])

    def compute_regions(
        self, images: Tensor, frames: list[Frame], state: VideoState
    ) -> list[FrameRegions]:
        return self.regions_from(self.prompted(images, state.prompt), frames)


def part_of(batch: ClipBatch, places: list[int]) -> ClipBatch:
    """A batch of one clip, reduced to the frames at these places."""
    (clip,) = batch.clips
    part = replace(clip, frames=[clip.frames[i] for i in places], images=None)
    return replace(batch, images=batch.images[:, places], clips=[part])
