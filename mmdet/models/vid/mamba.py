"""MAMBA (arXiv 2401.09923): attention to a bounded memory of the video, at two levels."""

from mmdet.core.errors import ConfigError
from mmdet.models.contexts import RegionReferences
from mmdet.models.vid.video_model import VideoModel
from mmdet.registry import MODELS


@MODELS.register_module()
class MAMBA(VideoModel):
    """A Faster R-CNN that reads and feeds a memory.

    A `MambaBBoxHead` gives the instance level (see `RegionMemory`), `pixel_memory` the pixel level,
    which the released model does not have (see `PixelMemory`). Training is SELSA's, with fewer
    regions per reference.

    Args: those of `VideoModel`.
    """

    def check_parts(self) -> None:
        if isinstance(self.regions, RegionReferences):
            raise ConfigError(
                'MAMBA reads a memory, which a SelsaBBoxHead cannot: `model.detector.roi_head.'
                'bbox_head` must be a MambaBBoxHead, or a Shared2FCBBoxHead with a `pixel_memory`.'
            )
        if self.regions is None and self.pixel_memory is None:
            raise ConfigError(
                'MAMBA has neither level: give `detector.roi_head` a MambaRoIHead with a '
                'MambaBBoxHead, or set `pixel_memory`.'
            )
