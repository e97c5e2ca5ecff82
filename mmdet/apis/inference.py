"""A model ready to run, from a config and a checkpoint."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from mmengine import Config
from mmengine.logging import print_log
from torch import nn

from mmdet.apis.common import checked_config
from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.class_names import both_lists
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import load_weights
from mmdet.engine.class_order import classes_of, named_classes
from mmdet.engine.config_check import class_counts
from mmdet.engine.device import Backends, choose_device
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
        cfg_options: dotted config keys and values. `env_cfg.tf32` and `env_cfg.cudnn_benchmark`
            hold for the whole process, as PyTorch has it.
        allow_partial: load what fits when the checkpoint does not fit the model.
        trust_checkpoint: unpickle freely when loading; any code in the file then runs.

    Returns:
        the model, with `cfg` and `classes` (names from the checkpoint, else from the config's test
        set, else None).

    Raises:
        ConfigError, CheckpointError: say what to do.
    """
    cfg = checked_config(config, cfg_options)
    place = choose_device(device)
    Backends.of(cfg.get('env_cfg'), testing=True).apply(place)
    model = MODELS.build(cfg.model)
    classes = None
    if checkpoint is not None:
        loaded = load_checkpoint_file(checkpoint, trust_checkpoint)
        for line in load_weights(model, state_dict_of(loaded), allow_partial):
            print_log(f'{checkpoint}: {line}', logger='current', level=logging.WARNING)
        classes = classes_of(loaded)
    model.cfg = cfg
    model.classes = _agreed(classes, cfg, checkpoint)
    return model.to(place).eval()


def _agreed(
    trained: tuple[str, ...] | None, cfg: Config, checkpoint: str | os.PathLike | None
) -> tuple[str, ...] | None:
    """The names by label: those that the checkpoint was trained with, whatever the config says."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    configured = named_classes(dataset)
    if trained is None:
        return configured
    counts = {count for _, count in class_counts(cfg.model, ('model',))}
    if counts and counts != {len(trained)}:
        raise CheckpointError(
            f'{checkpoint} names {len(trained)} classes ({", ".join(trained)}), but the model of '
            f'the config has {max(counts)}: use the config that it was trained with.'
        )
    if configured is not None and set(configured) != set(trained):
        print_log(
            f'{both_lists("The checkpoint", trained, "the config", configured)} The names of the '
            f'checkpoint are used.',
            logger='current',
            level=logging.WARNING,
        )
    return trained
