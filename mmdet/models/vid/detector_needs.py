"""What the video methods need of the detector inside them, checked when they are built."""

import inspect

from mmdet.core.errors import ConfigError
from mmdet.models.detectors.faster_rcnn import FasterRCNN
from mmdet.models.roi_heads.selsa_roi_head import SelsaBBoxHead
from mmdet.registry import MODELS


def build_detector(cfg: dict, method: str) -> FasterRCNN:
    """The detector of a config, which must have two stages.

    Raises:
        ConfigError: it is something else.
    """
    detector = MODELS.build(cfg)
    if not isinstance(detector, FasterRCNN):
        raise ConfigError(
            f'{method} works on the proposals of a two-stage detector: `model.detector` must be a '
            f'FasterRCNN or inherit it, got {type(detector).__name__}.'
        )
    return detector


def need_references_in_head(detector: FasterRCNN, method: str) -> None:
    """Refuse a region head that sees its own frame only."""
    head = detector.roi_head.bbox_head
    if not isinstance(head, SelsaBBoxHead):
        raise ConfigError(
            f'{method} needs a `model.detector.roi_head.bbox_head` that takes references '
            f'(SelsaBBoxHead or one that inherits it), got {type(head).__name__}.'
        )


def need_prompted_backbone(detector: FasterRCNN, method: str) -> None:
    """Refuse a backbone that takes no prompts, and a detector without a neck."""
    backbone = detector.backbone
    if 'prompts' not in inspect.signature(backbone.forward).parameters:
        raise ConfigError(
            f'{method} steers the backbone by prompts: `model.detector.backbone` must be an '
            f'STPNSwinTransformer, or one whose forward takes `prompts`, got '
            f'{type(backbone).__name__}.'
        )
    _need_neck(detector, method)


def need_one_map(detector: FasterRCNN, method: str) -> None:
    """Refuse a backbone of several maps, and a detector without a neck."""
    indices = getattr(detector.backbone, 'out_indices', (0,))
    if len(indices) != 1:
        raise ConfigError(
            f'The pixel level of {method} enhances the one map of a DC5 backbone: '
            f'`model.detector.backbone.out_indices` must name one stage, got {tuple(indices)}.'
        )
    _need_neck(detector, method)


def _need_neck(detector: FasterRCNN, method: str) -> None:
    if detector.neck is None:
        raise ConfigError(f'{method} needs a `model.detector.neck`, such as a ChannelMapper.')
