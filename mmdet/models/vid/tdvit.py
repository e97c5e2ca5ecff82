"""TDViT (arXiv 2402.09257): blocks of the backbone look at maps of past frames."""

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import TDViTTransformer
from mmdet.models.vid.video_model import VideoModel
from mmdet.registry import MODELS


@MODELS.register_module()
class TDViT(VideoModel):
    """A Faster R-CNN whose backbone remembers its maps of past frames.

    In testing, frames are taken in their order and need no references. In training, each stage of
    the backbone has one (`stagewise_uniform`). With a region head that takes references it is SELSA
    or MAMBA on TDViT, which these names build, too.

    Args: those of `VideoModel`; the detector's backbone is a `TDViTTransformer`.
    """

    def check_parts(self) -> None:
        if not isinstance(self.detector.backbone, TDViTTransformer):
            raise ConfigError(
                f'TDViT needs a `model.detector.backbone` that remembers: a TDViTTransformer, got '
                f'{type(self.detector.backbone).__name__}.'
            )
