"""STPN's prompts (arXiv 2402.02574): tokens made of other frames that the backbone sees.

Shapes: B clips, R support frames of a clip, P prompts of width D, C, h, w the backbone's last map.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmdet.models.batch import ClipBatch


@dataclass
class PromptState:
    """`prompts`: [P, D], made at the first frame and constant from then on."""

    prompts: Tensor | None = field(default=None, repr=False)


class Prompts:
    """Makes prompts of support frames, which pass the backbone without any.

    Support frames are those of role 'prompt'; where a clip has none, its references; where it has
    none of these, the key frame. Prompts do not depend on the frame that sees them.

    Args:
        backbone: takes `prompts`.
        predictor: maps support features [B, R, C, h, w] to prompts [B, P, D].
        support_eval: support frames pass the backbone in eval mode in training, too, that is,
            without stochastic depth.
    """

    def __init__(self, backbone: nn.Module, predictor: nn.Module, support_eval: bool) -> None:
        self.backbone, self.predictor = backbone, predictor
        self.support_eval = support_eval

    def init_state(self, generator: torch.Generator) -> PromptState:
        return PromptState()

    def places(self, clip) -> list[int]:
        """The support frames of a clip."""
        refs = list(range(1, len(clip.frames)))
        return clip.places('prompt') or refs or [0]

    def of_clips(self, batch: ClipBatch, clips: list[int], chunk: int | None = None) -> Tensor:
        """Prompts [B, P, D] of some clips of a batch; gradient flows to the predictor only.

        Args:
            clips: their numbers in the batch.
            chunk: support frames per pass; None: all at once.
        """
        rows = [batch.rows(clip, self.places(batch.clips[clip])) for clip in clips]
        distinct = sorted({row for clip_rows in rows for row in clip_rows})
        maps = self._support(batch.take(batch.images, distinct), chunk)
        number = {row: i for i, row in enumerate(distinct)}
        if len({len(r) for r in rows}) > 1:
            each = [maps[[number[row] for row in r]] for r in rows]
            return torch.stack([self.predictor(x) for x in each])
        order = [number[row] for r in rows for row in r]
        return self.predictor(batch.take(maps, order).unflatten(0, (len(rows), -1)))

    @torch.no_grad()
    def _support(self, images: Tensor, chunk: int | None) -> Tensor:
        """Last maps [n, C, h, w] of images, without prompts or gradient."""
        mode = self.backbone.training
        self.backbone.train(mode and not self.support_eval)
        chunks = images.split(chunk or len(images))
        maps = torch.cat([self.backbone(x)[-1] for x in chunks])
        self.backbone.train(mode)
        # weights that were cast here have no graph: the pass with gradients must not find them
        torch.clear_autocast_cache()
        return maps

    def begin(self, batch: ClipBatch, clip: int, state: PromptState, chunk: int) -> None:
        """Make the prompts of a video from its first clip."""
        state.prompts = self.of_clips(batch, [clip], chunk)[0].clone()

    def read(self, states: list[PromptState]) -> Tensor:
        """[B, P, D] for a frame of each state."""
        return torch.stack([state.prompts for state in states])
