"""A two-stage detector with contexts: SELSA, MAMBA, STPN and what else is made of these parts.

Shapes: B key frames, N images, P proposals of a frame, F width of the region head's layers.

A context enters at one of three places, each of which may be empty:

    images -> backbone (prompts, or temporal memory) -> maps (pixel memory) -> neck -> proposals ->
    regions (region context) -> detections
"""

from collections.abc import Callable

from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import TDViTTransformer
from mmdet.models.base import BaseVideoDetector, VideoState
from mmdet.models.batch import ClipBatch
from mmdet.models.contexts.base import FrameRegions, RegionContext
from mmdet.models.contexts.pixel_memory import PixelMemory
from mmdet.models.contexts.prompts import Prompts
from mmdet.models.contexts.region_memory import RegionMemory
from mmdet.models.contexts.region_references import RegionReferences
from mmdet.models.contexts.temporal_memory import TemporalMemory
from mmdet.models.detections import BatchDetections
from mmdet.models.detectors.base import Maps
from mmdet.models.detectors.faster_rcnn import FasterRCNN
from mmdet.models.roi_heads.selsa_roi_head import MambaBBoxHead, SelsaBBoxHead
from mmdet.models.vid import requirements
from mmdet.models.vid.frame_flow import PIXELS, PROMPTS, REGIONS, FrameFlow
from mmdet.models.vid.temporal_flow import TEMPORAL
from mmdet.plans import Plan, Refs, past_window, sampler_plan
from mmdet.registry import MODELS


class VideoModel(BaseVideoDetector):
    """The methods of this toolbox as one flow; each of their names is an assembly of parts.

    The region context is that of the detector's `bbox_head`: none, SELSA's references, or MAMBA's
    memory. A `TDViTTransformer` as backbone brings its temporal memory.

    Args:
        detector: config of a `FasterRCNN` with the parts that the contexts need.
        prompt_predictor: config of what makes prompts for the backbone; None for none.
        pixel_memory: config of a `PixelMemory` on the one map of the backbone; None for none.
        support_eval: see `Prompts`. Released training: False.
        extra_frames: with prompts and regions, each reference does one of the two; otherwise each
            does both, and the regions' references are computed without prompts.
        ref_batch: references per pass at the start of a video; more need more memory. None: 2 on a
            CPU, 16 on a GPU.
        data_preprocessor, init_cfg: as in every model.

    Raises:
        ConfigError: the detector does not give what the contexts need.
    """

    def __init__(
        self,
        detector: dict,
        prompt_predictor: dict | None = None,
        pixel_memory: dict | None = None,
        support_eval: bool = False,
        extra_frames: bool = True,
        ref_batch: int | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        name = type(self).__name__
        self.detector = requirements.detector_of(FasterRCNN, MODELS.build(detector), name)
        self.temporal: TemporalMemory | None = temporal_context(self.detector.backbone)
        if self.temporal is not None:
            requirements.no_pixel_memory(pixel_memory, name)
        self.pixel_memory: PixelMemory | None = None
        self.prompts: Prompts | None = None
        if prompt_predictor is not None:
            requirements.prompted_backbone(self.detector, name)
            self.prompt_predictor = MODELS.build(prompt_predictor)
            self.prompts = Prompts(self.detector.backbone, self.prompt_predictor, support_eval)
        if pixel_memory is not None:
            requirements.one_map(self.detector, name)
            self.pixel_memory = MODELS.build(pixel_memory)
        self.regions: RegionContext | None = region_context(self.bbox_head)
        self.extra_frames = extra_frames
        self.flow = FrameFlow(self, ref_batch)
        self.check_parts()

    def check_parts(self) -> None:
        """Raise a ConfigError where what the name of a method promises is not among the parts."""

    @property
    def bbox_head(self) -> nn.Module:
        return self.detector.roi_head.bbox_head

    @property
    def fixed_size(self) -> bool:  # maps and windows are kept, so sizes must not change
        return self.pixel_memory is not None or self.regions is not None

    # ---- which frames

    def plan(self, mode: str, ref_img_sampler: dict | None) -> Plan | None:
        roles = self._roles(mode)
        if mode == 'causal':
            plan = past_window(ref_img_sampler, roles) if self._slides else None
        else:
            plan = sampler_plan(ref_img_sampler, roles)
        if plan is not None and plan.in_order and not self._slides:
            raise ConfigError(
                f"{type(self).__name__} keeps no window of frames: set the test sampler's method "
                f"to 'test_with_adaptive_stride' (got 'test_with_fix_stride')."
            )
        if self.temporal is not None and mode != 'train':
            return requirements.frame_by_frame(plan, type(self).__name__)
        return plan

    @property
    def _slides(self) -> bool:
        """References may be a window that slides along."""
        alone = self.prompts is None or self.references_are_prompted
        return self.regions is not None and 'window' in self.regions.roles and alone

    def _roles(self, mode: str) -> Callable[[list[int]], Refs] | None:
        """With prompts and regions, each reference does one of the two: in training the first half
        makes the prompts, in testing every other one."""
        if self.prompts is None or self.regions is None or not self.extra_frames:
            return None
        return first_half_prompts if mode == 'train' else every_other_prompts

    # ---- training

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        name = type(self).__name__
        if self.temporal is not None:
            requirements.stage_references(batch, name, self.temporal.roles)
        if any((self.prompts, self.pixel_memory, self.regions)):
            requirements.references(batch, name, 2 if self._roles('train') else 1)
        key_feats, ref_feats, ref_rows = self.clip_feats(batch)
        img_shapes = batch.take(batch.img_shapes, batch.key_rows)
        if self.regions is None:
            return self.detector.losses(key_feats, batch.gt, img_shapes)
        losses, proposals = self.detector.rpn_losses(key_feats, batch.gt, img_shapes)
        refs = self.regions_of(ref_feats, batch.take(batch.img_shapes, ref_rows))
        keys = self.regions.keys_of_refs(refs, len(ref_rows) // len(batch))
        return losses | self.detector.roi_head.loss(key_feats, proposals, batch.gt, keys)

    def clip_feats(self, batch: ClipBatch) -> tuple[Maps, Maps, list[int]]:
        """Neck maps of the key frames [B, ...], of all references of the regions [B * R, ...], and
        the images of the latter.

        An image that serves as several frames of a clip is computed once.
        """
        rows = [batch.rows(i, clip.places('ref')) for i, clip in enumerate(batch.clips)]
        wanted = self.regions is not None or self.pixel_memory is not None
        ref_rows = [row for clip_rows in rows for row in clip_rows] if wanted else []
        if self.prompts is not None and not self.references_are_prompted:
            return (*self._prompted_by_unprompted(batch, ref_rows), ref_rows)
        if self.temporal is not None:
            return (*self._remembering(batch, ref_rows), ref_rows)
        used = sorted({*batch.key_rows, *ref_rows})
        number = {row: i for i, row in enumerate(used)}
        keys, refs = ([number[row] for row in rows] for rows in (batch.key_rows, ref_rows))
        if self.pixel_memory is not None:
            maps = self.encode_rows(batch, used)
            key_maps, ref_maps = self._take(batch, maps, keys), self._take(batch, maps, refs)
            shapes = batch.take(batch.img_shapes, ref_rows)
            key_maps = (self.pixel_memory.train_enhance(*key_maps, *ref_maps, shapes),)
            ref_feats = () if self.regions is None else self.detector.feats(ref_maps)
            return self.detector.feats(key_maps), ref_feats, ref_rows
        if self.prompts is None:
            feats = self.detector.feats_of(batch.take(batch.images, used))
        else:
            feats = self.detector.feats(self.encode_rows(batch, used))
        return self._take(batch, feats, keys), self._take(batch, feats, refs), ref_rows

    @property
    def references_are_prompted(self) -> bool:
        """The references of the regions are computed with prompts: these come from others, or
        there is nothing but prompts."""
        return self.extra_frames or self.regions is None

    def _prompted_by_unprompted(self, batch: ClipBatch, ref_rows: list[int]) -> tuple[Maps, Maps]:
        """Every reference does both: it is computed without prompts, with gradient, and its last
        map makes the prompts of the key frame."""
        maps = self.detector.encode(batch.take(batch.images, ref_rows))
        prompts = self.prompt_predictor(maps[-1].unflatten(0, (len(batch), -1)))
        images = batch.take(batch.images, batch.key_rows)
        key_maps = self.detector.encode(images, prompts=prompts)
        return self.detector.feats(key_maps), self.detector.feats(maps)

    def _remembering(self, batch: ClipBatch, ref_rows: list[int]) -> tuple[Maps, Maps]:
        """Key frames whose temporal blocks see the references of the stages; the references of the
        regions see themselves."""
        places = [clip.places(*self.temporal.roles) for clip in batch.clips]
        rows = [row for i, own in enumerate(places) for row in batch.rows(i, own)]
        stage_refs = batch.take(batch.images, rows).unflatten(0, (len(batch), -1))
        images = batch.take(batch.images, batch.key_rows)
        key_feats = self.detector.feats(self.detector.encode(images, stage_refs=stage_refs))
        if not ref_rows:
            return key_feats, ()
        maps = self.detector.encode(batch.take(batch.images, ref_rows))
        return key_feats, self.detector.feats(maps)

    def encode_rows(self, batch: ClipBatch, rows: list[int]) -> Maps:
        """Backbone maps of some images of a training batch, each with its clip's prompts."""
        images = batch.take(batch.images, rows)
        if self.prompts is None:
            return self.detector.encode(images)
        prompts = self.prompts.of_clips(batch, list(range(len(batch))))
        bounds = [*batch.first_row[1:], len(batch.images)]
        clip_of = [sum(row >= bound for bound in bounds) for row in rows]
        return self.detector.encode(images, prompts=batch.take(prompts, clip_of))

    @staticmethod
    def _take(batch: ClipBatch, maps: Maps, rows: list[int]) -> Maps:
        return tuple(batch.take(x, rows) for x in maps) if rows else ()

    def regions_of(self, feats: Maps, img_shapes: Tensor) -> FrameRegions:
        """Proposals (those of testing) and first-layer features of the frames behind neck maps."""
        proposals = self.detector.propose(feats, img_shapes)
        if self.training:  # as references they need no more
            proposals = proposals.best(self.bbox_head.topk)
        return FrameRegions(proposals, self.detector.roi_head.roi_feats(feats, proposals.boxes))

    # ---- testing

    def init_state(self, video_id: int = 0, seed: int = 0) -> VideoState:
        state = super().init_state(video_id, seed)
        contexts = {PROMPTS: self.prompts, TEMPORAL: self.temporal}
        contexts |= {PIXELS: self.pixel_memory, REGIONS: self.regions}
        for stage, context in contexts.items():
            if context is not None:
                state.contexts[stage] = context.init_state(state.generator)
        return state

    def detect_batch(self, batch: ClipBatch, states: list[VideoState]) -> BatchDetections:
        return self.flow.detect(batch, states)


def region_context(bbox_head: nn.Module) -> RegionContext | None:
    """MAMBA's memory, SELSA's references, or None for a head that sees its own frame only."""
    if isinstance(bbox_head, MambaBBoxHead):
        return RegionMemory(bbox_head)
    if isinstance(bbox_head, SelsaBBoxHead):
        return RegionReferences(bbox_head)
    return None


def temporal_context(backbone: nn.Module) -> TemporalMemory | None:
    """The memory of a TDViT, unless it is off; None for a backbone that sees single frames."""
    if isinstance(backbone, TDViTTransformer) and backbone.memory != 'off':
        return TemporalMemory(backbone)
    return None


# functions of the module, so that a data set that holds them can go to a worker process


def first_half_prompts(ids: list[int]) -> Refs:
    half = len(ids) // 2
    return [('prompt' if i < half else 'ref', frame) for i, frame in enumerate(ids)]


def every_other_prompts(ids: list[int]) -> Refs:
    return [('prompt' if i % 2 else 'ref', frame) for i, frame in enumerate(ids)]
