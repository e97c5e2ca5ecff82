"""A model ready to run, from a config and a checkpoint."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import torch
from mmengine import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import nn

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.engine.checkpoint import load_weights
from mmdet.engine.config_check import check_config
from mmdet.engine.config_load import load_config
from mmdet.registry import MODELS


def init_detector(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    device: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    allow_partial: bool = False,
    trust_checkpoint: bool = False,
) -> nn.Module:
    """Build the detector of a config, load its weights, put it in evaluation mode.

    Args:
        config: path of a config file, or a config.
        checkpoint: a file or an http(s) address; None leaves the weights random.
        device: 'cpu', 'cuda', 'cuda:1'; the GPU where there is one when None.
        cfg_options: dotted config keys and values.
        allow_partial: load what fits when the checkpoint does not fit the model.
        trust_checkpoint: unpickle freely when loading; any code in the file then runs.

    Returns:
        the model, with `cfg` and `classes` (names from the checkpoint, else from the config's test
        set, else None).

    Raises:
        ConfigError, CheckpointError: say what to do.
    """
    cfg = load_config(config, cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    check_config(cfg)
    model = MODELS.build(cfg.model)
    classes = None
    if checkpoint is not None:
        loaded = load_checkpoint_file(checkpoint, trust_checkpoint)
        for line in load_weights(model, state_dict_of(loaded), allow_partial):
            print_log(f'{checkpoint}: {line}', logger='current', level=logging.WARNING)
        classes = _classes_in(loaded)
    model.cfg = cfg
    model.classes = classes or _configured_classes(cfg)
    return model.to(device or ('cuda' if torch.cuda.is_available() else 'cpu')).eval()


def _classes_in(checkpoint: Mapping) -> tuple[str, ...] | None:
    """Class names in the meta data of our checkpoints and of 1.x."""
    meta = checkpoint.get('meta')
    names = meta.get('CLASSES') if isinstance(meta, Mapping) else None
    return tuple(names) if names else None


def _configured_classes(cfg: Config) -> tuple[str, ...] | None:
    from mmdet.registry import DATASETS

    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if dataset.get('classes'):
        return tuple(dataset['classes'])
    kind = DATASETS.get(dataset['type']) if isinstance(dataset.get('type'), str) else None
    return tuple(getattr(kind, 'CLASSES', None) or ()) or None
