"""MEGA (arXiv 2003.12063) and RDN (arXiv 1908.09511): regions related over a window of frames.

Shapes: B clips, N images, R regions of a frame that others see, F width of the head's layers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import MegaAggregator, RDNAggregator
from mmdet.models.aggregators.regions import Regions
from mmdet.models.batch import ClipBatch
from mmdet.models.contexts import FrameRegions, WindowRelations
from mmdet.models.roi_heads.relation_head import RelationKeys
from mmdet.models.vid.video_model import VideoModel
from mmdet.models.vid.window_plans import (
    LegacyWindowPlan,
    PastWindowPlan,
    WindowPlan,
    WindowTrainingPlan,
)
from mmdet.plans import Plan
from mmdet.registry import MODELS

MEMORY = 'memory'  # a role of training


class WindowModel(VideoModel):
    """What MEGA and RDN share: they choose their frames themselves.

    Args:
        window: frames of it; the key frame is the middle one.
        num_global, memory_frames: see `WindowRelations`.
        seed: of the choice of global frames in testing.
        legacy: test as the original does, for comparisons with it: a new global frame at every
            step, and what `WindowRelations` says of the ends of a video. Twice the cost.
        train_local, train_memory, train_global: frames of each role in a training clip.
        kwargs: of `VideoModel`; the `bbox_head` of the detector is a `RelationBBoxHead`.

    Raises:
        ConfigError: an even window, or a head of another method.
    """

    aggregator: type[torch.nn.Module]

    def __init__(
        self,
        window: int,
        num_global: int = 0,
        memory_frames: int = 0,
        seed: int = 0,
        legacy: bool = False,
        train_local: int = 2,
        train_memory: int = 0,
        train_global: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if window < 1 or window % 2 == 0:
            raise ConfigError(f'window={window} has no middle: it must be an odd number.')
        self.reach, self.num_global = window // 2, num_global
        self.seed, self.legacy = seed, legacy
        self.train_frames = {'local': train_local, MEMORY: train_memory, 'global': train_global}
        self.regions = WindowRelations(
            self.bbox_head, self.reach, self.reach, num_global, memory_frames, legacy
        )

    def check_parts(self) -> None:
        head = self.bbox_head
        if self.prompts is not None or self.pixel_memory is not None:
            raise ConfigError(
                f'{type(self).__name__} has neither a `prompt_predictor` nor a `pixel_memory`.'
            )
        if not isinstance(getattr(head, 'aggregator', None), self.aggregator):
            raise ConfigError(
                f'{type(self).__name__} needs a `model.detector.roi_head.bbox_head` of the type '
                f'RelationBBoxHead with an aggregator of the type {self.aggregator.__name__}, got '
                f'{type(head).__name__}.'
            )

    def plan(self, mode: str, ref_img_sampler: dict | None) -> Plan:
        if ref_img_sampler is not None:
            raise ConfigError(
                f'{type(self).__name__} chooses its frames itself: set `ref_img_sampler=None` in '
                f'every dataset (got {dict(ref_img_sampler)}).'
            )
        if mode == 'train':
            local, memory, globals_ = self.train_frames.values()
            return WindowTrainingPlan(self.reach, local, memory, globals_)
        if mode == 'causal':
            return PastWindowPlan()
        kind = LegacyWindowPlan if self.legacy else WindowPlan
        return kind(self.reach, self.num_global, self.seed)

    # ---- training

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses of the key frames, whose regions see the local, global and memory frames.

        What comes from memory frames has no gradient, as in the original.
        """
        regions, key_feats = self._regions_of_clips(batch)
        img_shapes = batch.take(batch.img_shapes, batch.key_rows)
        losses, proposals = self.detector.rpn_losses(key_feats, batch.gt, img_shapes)
        window, globals_ = regions['local'], regions.get('global')
        globals_ = globals_.flat() if globals_ is not None else None
        memory = None
        if MEMORY in regions:
            with torch.no_grad():
                past = regions[MEMORY].detached()
                fcs = self.bbox_head.shared_fcs[1:]
                _, kept = self.bbox_head.aggregator(fcs, None, past, globals_.detached())
                memory = [refs.flat() for refs in kept]
        keys = RelationKeys(window, globals_, memory)
        return losses | self.detector.roi_head.loss(key_feats, proposals, batch.gt, keys)

    def _regions_of_clips(self, batch: ClipBatch) -> tuple[dict[str, Regions], tuple[Tensor, ...]]:
        """The best regions [B, frames, R, ...] of the frames of each role, the key frame among the
        local ones, and the neck maps of the key frames.

        An image is computed once, whatever it serves as, with gradient if any use has one.
        """
        roles = [role for role, number in self.train_frames.items() if number]
        rows = {role: self._rows(batch, role) for role in roles}
        learning = {row for role in roles if role != MEMORY for row in rows[role]}
        parts = [sorted(learning), sorted(set(rows.get(MEMORY, ())) - learning)]
        feats = self._feats(batch, parts[0])
        computed = [self.regions_of(feats, batch.take(batch.img_shapes, parts[0]))]
        if parts[1]:
            with torch.no_grad():
                shapes = batch.take(batch.img_shapes, parts[1])
                computed.append(self.regions_of(self._feats(batch, parts[1]), shapes))
        every = FrameRegions.cat(computed)
        number = {row: i for i, row in enumerate(parts[0] + parts[1])}
        regions = {}
        for role in roles:
            of_role = every.take(batch, [number[row] for row in rows[role]]).tensors()
            boxes, _, valid, roi_feats = (x.unflatten(0, (len(batch), -1)) for x in of_role)
            regions[role] = Regions(F.relu(roi_feats), boxes, valid)
        key_rows = [number[row] for row in batch.key_rows]
        return regions, tuple(batch.take(x, key_rows) for x in feats)

    def _feats(self, batch: ClipBatch, rows: list[int]) -> tuple[Tensor, ...]:
        return self.detector.feats(self.detector.encode(batch.take(batch.images, rows)))

    def _rows(self, batch: ClipBatch, role: str) -> list[int]:
        """The images of the frames of a role, clip after clip.

        Raises:
            ConfigError: a clip has another number of them than the model trains on.
        """
        wanted, rows = self.train_frames[role], []
        for i, clip in enumerate(batch.clips):
            places = clip.places(role)
            if len(places) != wanted:
                raise ConfigError(
                    f'{type(self).__name__} trains on {wanted} {role} frames, got a clip of '
                    f'{len(places)}. Make clips with its own plan.'
                )
            rows += batch.rows(i, [0, *places] if role == 'local' else places)
        return rows


@MODELS.register_module()
class MEGA(WindowModel):
    """Global, local and memory relations: the long-range method (MEGA, section 3).

    Args: those of `WindowModel`, by default a window of 25 frames, 10 global frames and a memory
        of as many frames as the window.
    """

    aggregator = MegaAggregator

    def __init__(
        self,
        window: int = 25,
        num_global: int = 10,
        memory_frames: int | None = None,
        train_memory: int = 3,
        train_global: int = 2,
        **kwargs,
    ) -> None:
        memory_frames = window if memory_frames is None else memory_frames
        kwargs.update(train_memory=train_memory, train_global=train_global)
        super().__init__(window, num_global, memory_frames, **kwargs)
        if num_global < 1 or train_global < 1:
            raise ConfigError('MEGA needs at least one global frame in training and testing.')


@MODELS.register_module()
class RDN(WindowModel):
    """Relations to the frames around the key frame (RDN, section 3).

    Args: those of `WindowModel`, by default a window of 37 frames.
    """

    aggregator = RDNAggregator

    def __init__(self, window: int = 37, **kwargs) -> None:
        super().__init__(window=window, **kwargs)
