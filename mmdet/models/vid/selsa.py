"""SELSA (arXiv 1907.06390): regions of the key frame attend to regions of the whole video."""

from mmdet.core.errors import ConfigError
from mmdet.models.contexts import RegionReferences
from mmdet.models.vid.video_model import VideoModel
from mmdet.registry import MODELS


@MODELS.register_module()
class SELSA(VideoModel):
    """A Faster R-CNN whose region head takes from the regions of reference frames.

    In testing, references come with the first frame of a video (`test_with_adaptive_stride`) and
    are computed once: their keys hold for the whole video. With `test_with_fix_stride` they form a
    window that slides along. A video that starts without references has itself only.

    With a `prompt_predictor` it is SELSA on STPN, with a `pixel_memory` SELSA on enhanced maps.

    Args: those of `VideoModel`; the `bbox_head` of the detector is a `SelsaBBoxHead`.
    """

    def check_parts(self) -> None:
        if not isinstance(self.regions, RegionReferences):
            raise ConfigError(
                f'SELSA needs a `model.detector.roi_head.bbox_head` that takes references '
                f'(SelsaBBoxHead or one that inherits it), got {type(self.bbox_head).__name__}.'
            )
