"""STPN (arXiv 2402.02574): prompts made from reference frames steer the backbone itself.

Shapes: B clips of a key frame and R references, P prompts of width D.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdet.models.base import VideoState
from mmdet.models.batch import ClipBatch
from mmdet.models.vid.detector_needs import need_prompted_backbone
from mmdet.models.vid.references import ReferenceDetector, check_has_references
from mmdet.registry import MODELS, check_arguments
from mmdet.structures import Detections


@dataclass
class StpnState(VideoState):
    """`prompt`: [P, D], made at the first frame and constant from then on."""

    prompt: Tensor | None = field(default=None, repr=False)


@MODELS.register_module()
class STPN(ReferenceDetector):
    """A detector whose backbone sees a few prompt tokens beside the frame.

    In testing the prompts are made once, from the references that come with the first frame of a
    video; a video that starts without references has its first frame only. Prompts do not depend
    on the frame, so key frames may be computed in batches (`test_dataloader.batch_size`).

    Args:
        detector: config of a `FasterRCNN` on an `STPNSwinTransformer`.
        prompt_predictor: config of what makes prompts of the references' last maps.
        support_eval: references pass the backbone in eval mode in training, too, that is, without
            stochastic depth. Released training: False.
        kwargs: `ref_batch`, `data_preprocessor`, `init_cfg` as in `ReferenceDetector`.
    """

    together = True

    def __init__(
        self, detector: dict, prompt_predictor: dict, support_eval: bool = False, **kwargs
    ) -> None:
        check_arguments(ReferenceDetector, kwargs)
        super().__init__(detector, **kwargs)
        self.prompt_predictor = MODELS.build(prompt_predictor)
        self.support_eval = support_eval

    def check_detector(self) -> None:
        super().check_detector()
        need_prompted_backbone(self.detector, type(self).__name__)

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        check_has_references(batch, type(self).__name__)
        prompts = self.prompt_predictor(self.support(batch.images[:, 1:]))
        return self.detector.loss_of(self.prompted(batch.key_images, prompts), batch)

    @torch.no_grad()
    def support(self, images: Tensor) -> Tensor:
        """Last maps [B, R, C, h, w] of references [B, R, 3, H, W], without prompts or gradient."""
        backbone = self.detector.backbone
        mode = backbone.training
        backbone.train(mode and not self.support_eval)
        frames = images.flatten(0, 1)
        chunks = [frames] if self.training else frames.split(self.ref_batch)
        maps = torch.cat([backbone(x)[-1] for x in chunks])
        backbone.train(mode)
        return maps.unflatten(0, images.shape[:2])

    def prompted(self, images: Tensor, prompts: Tensor) -> tuple[Tensor, ...]:
        """Neck maps of images [B, 3, H, W], each with its own prompts [B, P, D]."""
        return self.detector.neck(self.detector.backbone(images, prompts))

    def make_state(self, **common) -> StpnState:
        return StpnState(**common)

    def predict(self, batch: ClipBatch, states: list[StpnState]) -> list[Detections]:
        for images, state in zip(batch.images, states, strict=True):
            if state.prompt is None:
                refs = images[1:] if len(images) > 1 else images
                state.prompt = self.prompt_predictor(self.support(refs[None])[0])
        prompts = torch.stack([state.prompt for state in states])
        return self.detector.predict_from(self.prompted(batch.key_images, prompts), batch)
