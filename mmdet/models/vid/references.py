"""What the methods share whose frames are helped by reference frames."""

from mmdet.core.errors import ConfigError
from mmdet.models.base import BaseVideoDetector
from mmdet.models.batch import ClipBatch
from mmdet.models.vid.detector_needs import build_detector


class ReferenceDetector(BaseVideoDetector):
    """A single-frame detector inside a video model.

    Args:
        detector: config of a `FasterRCNN`, with the parts that the method needs.
        ref_batch: references per pass at the start of a video; more need more memory.
        data_preprocessor, init_cfg: as in every model.

    Raises:
        ConfigError: the detector does not give what the method needs.
    """

    def __init__(
        self,
        detector: dict,
        ref_batch: int = 2,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.detector = build_detector(detector, type(self).__name__)
        self.ref_batch = ref_batch
        self.check_detector()

    def check_detector(self) -> None:
        """Raise a ConfigError where the detector lacks what the method needs; extend it."""


def check_has_references(batch: ClipBatch, method: str, least: int = 1) -> None:
    """Refuse training clips with fewer than `least` references.

    Raises:
        ConfigError: says how many there are and which setting gives more.
    """
    frames = batch.images.shape[1]
    if frames - 1 < least:
        raise ConfigError(
            f'{method} trains on a key frame and its references, at least {least} of them, got '
            f'clips of {frames} frame(s). Set `ref_img_sampler=dict(num_ref_imgs={2 * least}, '
            f"frame_range=9, method='bilateral_uniform')` in every training dataset."
        )
