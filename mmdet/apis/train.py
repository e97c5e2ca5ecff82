"""Training from a config."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmengine import Config

from mmdet.apis.common import check_amp, prepare_config, set_metric_options
from mmdet.core.errors import ConfigError

if TYPE_CHECKING:
    from mmdet.engine.runner import VideoRunner

NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')


def train(
    config: str | os.PathLike | Config,
    *,
    work_dir: str = '',
    resume: str | bool = False,
    validate: bool = True,
    amp: str | None = None,
    auto_scale_lr: bool = False,
    seed: int | None = None,
    deterministic: bool = False,
    compile: bool = False,
    graphs: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
    device: str | None = None,
    trust_checkpoint: bool = False,
) -> 'VideoRunner':
    """Train the model of a config and write checkpoints and logs to its work dir.

    Args:
        config: path of a config file, or a config.
        work_dir: else the config's `work_dir`, else ./work_dirs/<config name>.
        resume: a checkpoint to go on from, or 'auto' (True) for the newest whole one of the work
            dir; 'auto' starts anew where there is none.
        validate: score the validation set as `train_cfg` says.
        amp: 'bf16' or 'fp16' trains, and validates, in mixed precision.
        auto_scale_lr: multiply the learning rate by (batch of all processes) / base_batch_size.
        seed: of everything random; None: a new one, which is logged.
        deterministic: use deterministic algorithms, at the cost of speed on a GPU.
        graphs: on a GPU, replay backbone and neck as CUDA graphs; `training_graphs` of the config.
        compile: compile backbone and neck; the config's `compile` may hold options.
        cfg_options: dotted config keys and values.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        device: 'cpu', 'cuda', 'cuda:1'; the GPU where there is one when None.
        trust_checkpoint: unpickle freely when loading; any code in the file then runs.

    Returns:
        the runner after training.

    Raises:
        ConfigError: a mistake in the config, found before any work.
    """
    cfg = prepare_config(config, cfg_options, work_dir, launcher, device, trust_checkpoint)
    absent = [key for key in NEEDED if not cfg.get(key)]
    if absent:
        raise ConfigError(f'Cannot train: the config has no {", ".join(absent)}.')
    if resume:
        cfg.resume = 'auto' if resume is True else str(resume)
    if not validate:
        cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    elif cfg.get('val_evaluator'):
        set_metric_options(cfg.val_evaluator, {'work_dir': cfg.work_dir})
    if amp:
        check_amp(amp, device)
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=amp)
    if cfg.get('val_cfg') and cfg.optim_wrapper.get('type') == 'AmpOptimWrapper':
        cfg.val_cfg.setdefault('amp', cfg.optim_wrapper.get('dtype', 'bf16'))  # as in training
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(
                '--auto-scale-lr needs to know the batch size that the learning rate was chosen '
                'for: set auto_scale_lr=dict(base_batch_size=N) in the config.'
            )
        cfg.auto_scale_lr.enable = True
    if graphs:
        cfg.training_graphs = True
    if compile:
        cfg.compile = cfg.get('compile') or True
    randomness = {'seed': seed, 'deterministic': deterministic or None}
    given = {key: value for key, value in randomness.items() if value is not None}
    cfg.randomness = {**(cfg.get('randomness') or {}), **given}

    from mmdet.engine.runner import VideoRunner

    runner = VideoRunner.from_cfg(cfg)
    runner.train()
    return runner
