"""Where EOVOD's location prior stands in a detector: before its neck or after it."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.detectors.base import Maps
from mmdet.models.detectors.one_stage import OneStageDetector

SITES = ('neck', 'backbone')
BRANCHES = ('cls', 'all')


class PriorSite:
    """Which maps are enhanced, and what the head then sees.

    Args:
        detector: whose maps they are.
        site: 'neck', the maps that the head sees; 'backbone', maps of the backbone in front of the
            neck, which then runs twice where `branches` is 'cls'.
        levels: numbers of the enhanced maps; None: all that the head has.
        branches: 'cls', only the classification sees enhanced maps, boxes come from plain ones;
            'all', everything does.
    """

    def __init__(
        self, detector: OneStageDetector, site: str, levels: Sequence[int] | None, branches: str
    ) -> None:
        for name, value, legal in (('site', site, SITES), ('branches', branches, BRANCHES)):
            if value not in legal:
                raise ConfigError(f'aggregator.{name} is {value!r}. Known: {", ".join(legal)}.')
        strides = detector.bbox_head.strides
        if site == 'neck':
            channels = [detector.bbox_head.in_channels] * len(strides)
        else:
            channels, strides = _of_backbone(detector.backbone)
        self.levels = tuple(range(len(strides)) if levels is None else levels)
        if not self.levels or not set(self.levels) <= set(range(len(strides))):
            raise ConfigError(
                f'aggregator.levels is {levels!r}; the {site} has the levels 0 to '
                f'{len(strides) - 1}.'
            )
        self.detector, self.site, self.branches = detector, site, branches
        self.strides = [strides[level] for level in self.levels]
        self.channels = [channels[level] for level in self.levels]

    def encode(self, images: Tensor) -> Maps:
        """The maps of the site, all levels, of images [N, 3, H, W]."""
        maps = self.detector.encode(images)
        return maps if self.site == 'backbone' else self.detector.feats(maps)

    def seen(self, encoded: Maps) -> Maps:
        """Those that are enhanced."""
        return tuple(encoded[level] for level in self.levels)

    def needed(self, levels: Sequence[int] | None) -> list[bool]:
        """Which of the enhanced maps count where the head runs on these levels (None: all)."""
        if levels is None or self.site == 'backbone':
            return [True] * len(self.levels)
        return [level in levels for level in self.levels]

    def feats(self, encoded: Maps) -> Maps:
        """What the head sees without a prior."""
        return self.detector.feats(encoded) if self.site == 'backbone' else encoded

    def head_feats(self, encoded: Maps, enhanced: Sequence[Tensor]) -> tuple[Maps, Maps]:
        """What boxes and classes are found on, given the enhanced maps of `levels`."""
        merged = list(encoded)
        for level, x in zip(self.levels, enhanced, strict=True):
            merged[level] = x
        seen = self.feats(tuple(merged))
        return (self.feats(encoded) if self.branches == 'cls' else seen), seen


def _of_backbone(backbone: nn.Module) -> tuple[list[int], list[int]]:
    """Channels and strides of the maps, which halve from one to the next; the last has 32."""
    channels = [backbone.out_channels[i] for i in backbone.out_indices]
    return channels, [32 >> (len(channels) - 1 - i) for i in range(len(channels))]
