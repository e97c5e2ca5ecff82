"""The way of a frame through a backbone with a temporal memory, in testing.

What a frame sees there depends on the frame before it: those of one video take turns. Of different
videos, those that have a memory share a pass, and those that begin another.

Shapes: n frames, N images.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from mmdet.models.base import VideoState
from mmdet.models.batch import ClipBatch
from mmdet.models.contexts.temporal_memory import TemporalState
from mmdet.models.vid.turns import in_order, turns

if TYPE_CHECKING:
    from mmdet.models.vid.video_model import VideoModel

TEMPORAL = 'temporal'  # the stage in the state of a video
REGION_TENSORS = 4  # of `FrameRegions.tensors`


class TemporalFlow:
    """Drives the temporal memory of a model."""

    def __init__(self, model: 'VideoModel') -> None:
        self.model = model

    def regions(self, batch: ClipBatch, states: list[VideoState]) -> tuple[Tensor, ...]:
        """The regions of the key frame of each clip, as `FrameRegions.tensors`."""
        passes = []
        for clips in turns(states):
            memories = [states[i].contexts[TEMPORAL] for i in clips]
            size = tuple(batch.images.shape[-2:])
            known = [self.model.temporal.admit(memory, size) for memory in memories]
            for wanted in (False, True):
                some = [i for i, has in zip(clips, known, strict=True) if has == wanted]
                if some:
                    passes.append((some, self._pass(batch, some, states, wanted)))
        return in_order(batch, passes)

    def _pass(
        self, batch: ClipBatch, clips: list[int], states: list[VideoState], known: bool
    ) -> tuple[Tensor, ...]:
        """Regions of one frame of each of these clips, whose videos are new or not."""
        memory = self.model.temporal
        memories: list[TemporalState] = [states[i].contexts[TEMPORAL] for i in clips]
        rows = [batch.key_rows[i] for i in clips]
        images, shapes = batch.take(batch.images, rows), batch.take(batch.img_shapes, rows)
        references = memory.references(memories) if known else []
        outputs = self.model.static(self.encode_remembering, images, shapes, *references)
        memory.write(memories, outputs[REGION_TENSORS:])
        regions = outputs[:REGION_TENSORS]
        # another pass overwrites what a replay returned
        return regions if len(clips) == len(batch) else tuple(x.clone() for x in regions)

    def encode_remembering(
        self, images: Tensor, img_shapes: Tensor, *references: Tensor
    ) -> tuple[Tensor, ...]:
        """Static part: from images to regions and to what the temporal blocks may remember."""
        detector = self.model.detector
        maps, kept = detector.backbone.remember(images, references or None)
        return (*self.model.regions_of(detector.feats(maps), img_shapes).tensors(), *kept)
