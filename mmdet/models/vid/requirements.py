"""What the parts of a video model need of each other, checked when it is built."""

import inspect
from typing import TypeVar

from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.models.batch import ClipBatch
from mmdet.models.detectors.base import Detector
from mmdet.models.detectors.faster_rcnn import FasterRCNN
from mmdet.models.detectors.one_stage import OneStageDetector
from mmdet.plans import InOrder, Plan

D = TypeVar('D', bound=Detector)
DETECTORS = {
    FasterRCNN: ('the proposals of a two-stage', 'FasterRCNN or inherit it'),
    OneStageDetector: ('the maps of a one-stage', 'FCOS, YOLOX or CenterNet'),
}


def detector_of(kind: type[D], detector: nn.Module, method: str) -> D:
    """The detector, which must be of a kind."""
    if not isinstance(detector, kind):
        what, names = DETECTORS[kind]
        raise ConfigError(
            f'{method} works on {what} detector: `model.detector` must be a {names}, got '
            f'{type(detector).__name__}.'
        )
    return detector


def prompted_backbone(detector: FasterRCNN, method: str) -> None:
    """Refuse a backbone that takes no prompts, and a detector without a neck."""
    backbone = detector.backbone
    if 'prompts' not in inspect.signature(backbone.forward).parameters:
        raise ConfigError(
            f'{method} steers the backbone by prompts: `model.detector.backbone` must be an '
            f'STPNSwinTransformer, or one whose forward takes `prompts`, got '
            f'{type(backbone).__name__}.'
        )
    _neck(detector, method)


def one_map(detector: FasterRCNN, method: str) -> None:
    """Refuse a backbone of several maps, and a detector without a neck."""
    indices = getattr(detector.backbone, 'out_indices', (0,))
    if len(indices) != 1:
        raise ConfigError(
            f'The pixel level of {method} enhances the one map of a DC5 backbone: '
            f'`model.detector.backbone.out_indices` must name one stage, got {tuple(indices)}.'
        )
    _neck(detector, method)


def _neck(detector: FasterRCNN, method: str) -> None:
    if detector.neck is None:
        raise ConfigError(f'{method} needs a `model.detector.neck`, such as a ChannelMapper.')


def references(batch: ClipBatch, method: str, least: int) -> None:
    """Refuse training clips with fewer than `least` references, or different numbers of them.

    Those of the stages of a backbone do not count.
    """
    counts = {sum(not f.role.startswith('stage') for f in clip.refs) for clip in batch.clips}
    if min(counts) < least:
        raise ConfigError(
            f'{method} trains on a key frame and its references, at least {least} of them, got '
            f'clips of {min(counts) + 1} frame(s). Set '
            f'`ref_img_sampler=dict(num_ref_imgs={2 * least}, frame_range=9, '
            f"method='bilateral_uniform')` in every training dataset."
        )
    if len(counts) > 1:
        raise ConfigError(
            f'{method} trains on clips of one length, got {sorted(c + 1 for c in counts)} frames '
            f'in one batch: set one `num_ref_imgs` in all training datasets.'
        )


def stage_references(batch: ClipBatch, method: str, roles: tuple[str, ...]) -> None:
    """Refuse training clips without one reference per stage of the backbone, in their order."""
    for clip in batch.clips:
        given = [frame.role for frame in clip.refs if frame.role.startswith('stage')]
        if given != list(roles):
            ranges = [4 * 2**i for i in range(len(roles))]
            raise ConfigError(
                f'{method} trains with one reference for each of the {len(roles)} stages of its '
                f'backbone, got clips with {len(given)}. Set '
                f"`ref_img_sampler=dict(method='stagewise_uniform', frame_range={ranges})` in "
                f'every training dataset.'
            )


def no_pixel_memory(pixel_memory: dict | None, method: str) -> None:
    """Refuse two memories of maps at once."""
    if pixel_memory is not None:
        raise ConfigError(
            f'{method}: a TDViTTransformer has a memory of its own and cannot be given a '
            f"`pixel_memory`: take it out, or set `detector.backbone.memory='off'`."
        )


def frame_by_frame(plan: Plan | None, method: str) -> Plan:
    """The plan of a backbone that remembers; refuse one that computes frames ahead of the key."""
    if plan is not None and plan.lookahead:
        raise ConfigError(
            f'{method} with a TDViTTransformer follows the video frame by frame, so its references '
            f"cannot slide ahead of the key frame: set the test sampler's method to "
            f"'test_with_adaptive_stride', or test with --causal."
        )
    return InOrder(plan)
