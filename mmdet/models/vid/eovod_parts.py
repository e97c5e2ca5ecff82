"""From the config of EOVOD to its parts."""

import re
from pathlib import Path

from torch import nn

from mmdet.models.aggregators import SelsaAggregator
from mmdet.models.config import settings
from mmdet.models.contexts.key_cells import BankedKeys, KeptKeys
from mmdet.models.contexts.location_prior import LocationPrior, Validation
from mmdet.models.contexts.prior_site import PriorSite
from mmdet.models.contexts.size_prior import SizePrior
from mmdet.models.contexts.training_prior import TrainingPrior
from mmdet.models.detectors.one_stage import OneStageDetector

RELEASED_NAMES = 'memory.memories.'  # of the aggregators in checkpoints of the released model


def location_settings(cfg: dict) -> tuple[dict, Validation, TrainingPrior]:
    """`location_prior`: arguments of `LocationPrior`, then the two other things that it sets."""
    cfg = settings(
        cfg, 'location_prior', queries='prior', box_ratio=0.8, max_queries=None, score_thr=0.3,
        validate_on='score', train_plain_prob=0.25, train_drop_prob=0.3, train_jitter=0.1,
        train_distractors=2,
    )  # fmt: skip
    training = TrainingPrior(
        cfg.pop('train_plain_prob'), cfg.pop('train_drop_prob'), cfg.pop('train_jitter'),
        cfg.pop('train_distractors'),
    )  # fmt: skip
    validation = Validation(cfg.pop('score_thr'), cfg.pop('validate_on'))
    return cfg, validation, training


def site_and_aggregators(cfg: dict, detector: OneStageDetector) -> tuple[PriorSite, nn.ModuleDict]:
    """`aggregator`: where attention stands, and its weights by level, or '0' for all."""
    cfg = settings(
        cfg, 'aggregator', num_heads=16, shared=True, site='neck', levels=None, branches='cls'
    )
    site = PriorSite(detector, cfg['site'], cfg['levels'], cfg['branches'])
    modules = nn.ModuleDict()
    for level, channels in zip(site.levels, site.channels, strict=True):
        if not (cfg['shared'] and modules):
            name = '0' if cfg['shared'] else str(level)
            modules[name] = SelsaAggregator(channels, cfg['num_heads'])
    return site, modules


def location_prior(
    cfg: dict, site: PriorSite, modules: nn.ModuleDict, memory: KeptKeys | BankedKeys
) -> LocationPrior:
    """The prior with an aggregator for each level of the site."""
    each = list(modules.values())
    each = each * len(site.levels) if len(each) == 1 else each
    return LocationPrior(each, site.strides, memory, **cfg)


def key_memory(cfg: dict) -> tuple[KeptKeys | BankedKeys, int | None]:
    """`memory`: where keys come from in testing, and how many random cells a reference gives in
    training (None: those in its objects)."""
    if cfg.get('update', False):
        cfg = settings(
            cfg, 'memory', update=True, max_length=20_000, key_length=2000, cells_per_frame=1000,
            train_keys=2000,
        )  # fmt: skip
        kept = BankedKeys(cfg['max_length'], cfg['key_length'], cfg['cells_per_frame'])
    else:
        cfg = settings(cfg, 'memory', update=False, num_keys=4096, train_keys=None)
        kept = KeptKeys(cfg['num_keys'])
    return kept, cfg['train_keys']


def size_prior(cfg: dict, detector: OneStageDetector) -> SizePrior:
    """`size_prior`."""
    cfg = settings(cfg, 'size_prior', interval=7, margin=1)
    return SizePrior(len(detector.bbox_head.strides), **cfg)


def rename_released(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Before weights are loaded: the released model has its aggregators inside of a memory."""
    for name in [n for n in state if n.startswith(prefix + RELEASED_NAMES)]:
        level, rest = name.removeprefix(prefix + RELEASED_NAMES).split('.aggregator.')
        state[f'{prefix}aggregators.{level}.{rest}'] = state.pop(name)


def resets_memory(path: str) -> bool:
    """Whether the released model begins with an empty memory at this frame, the first of a video.

    ImageNet VID cuts a video into snippets of consecutive numbers, the first of which is a multiple
    of 1000. Folders without a number are videos of their own.
    """
    number = re.search(r'(\d+)$', Path(path).parent.name)
    return number is None or int(number[1]) % 1000 == 0
