"""STPN (arXiv 2402.02574): prompts made from reference frames steer the backbone itself."""

from mmdet.core.errors import ConfigError
from mmdet.models.vid.video_model import VideoModel
from mmdet.registry import MODELS


@MODELS.register_module()
class STPN(VideoModel):
    """A detector whose backbone sees a few prompt tokens beside the frame.

    In testing the prompts are made once, from the references that come with the first frame of a
    video; a video that starts without references has its first frame only. Prompts do not depend
    on the frame, so the frames of a video may be computed in batches.

    Args: those of `VideoModel`, with a `prompt_predictor`; the detector's backbone is an
        `STPNSwinTransformer`.
    """

    def check_parts(self) -> None:
        need_prompts(self)


@MODELS.register_module()
class STPNSelsa(VideoModel):
    """A detector whose backbone sees prompts and whose regions see those of references.

    1.x has this model; no paper or README gives a result of it. With `extra_frames` (the released
    configs) each reference does one of the two: in training the first half makes the prompts, in
    testing those at odd places (refs[1::2]); the others are computed with these prompts and become
    SELSA's references. A sliding window keeps all of its frames, prompted by those it starts with.

    Without, every reference does both: it is computed without prompts, with gradient, and its
    last map makes the prompts of the key frame.

    Args: those of `VideoModel`, with a `prompt_predictor`; the detector has an
        `STPNSwinTransformer` and a `SelsaRoIHead`.
    """

    def check_parts(self) -> None:
        need_prompts(self)
        if self.regions is None:
            raise ConfigError(
                f'STPNSelsa needs a `model.detector.roi_head.bbox_head` that takes references '
                f'(SelsaBBoxHead or one that inherits it), got {type(self.bbox_head).__name__}.'
            )


def need_prompts(model: VideoModel) -> None:
    if model.prompts is None:
        raise ConfigError(
            f'{type(model).__name__} needs a `model.prompt_predictor`, such as '
            f"dict(type='AttentionPromptPredictor')."
        )
