"""Testing a checkpoint on the test set of a config."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine import Config

from mmdet.apis.common import check_amp, prepare_config, set_metric_options
from mmdet.core.checkpoint_file import existing_file
from mmdet.core.download import is_url
from mmdet.core.errors import ConfigError
from mmdet.core.fileio import check_folder, check_writable

NEEDED = ('model', 'test_dataloader')
TRAINING_KEYS = (
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'val_dataloader',
    'val_cfg',
    'val_evaluator',
)


def test(
    config: str | os.PathLike | Config,
    checkpoint: str,
    *,
    out: str | None = None,
    evaluate: bool = True,
    format_only: bool = False,
    show_dir: str | None = None,
    show_score_thr: float = 0.3,
    work_dir: str = '',
    eval_options: Mapping[str, Any] | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    fuse_conv_bn: bool = False,
    amp: str | None = None,
    launcher: str = 'none',
    device: str | None = None,
    trust_checkpoint: bool = False,
    allow_partial: bool = False,
    causal: bool = False,
    graphs: bool = True,
) -> dict[str, float]:
    """Run a checkpoint over the test set of a config.

    Args:
        config: path of a config file, or a config.
        checkpoint: a file or an http(s) address.
        out: write the detections to this `.pkl`.
        evaluate: compute the metrics.
        format_only: write a COCO results JSON to the work dir instead of computing metrics.
        show_dir: write every frame with its detections there.
        show_score_thr: detections below this score (0..1) are not drawn.
        work_dir: else the config's `work_dir`, else ./work_dirs/<config name>.
        eval_options: arguments of the metric, over those of the config.
        cfg_options: dotted config keys and values.
        fuse_conv_bn: accepted for 1.x scripts: batch norms are always folded into convolutions.
        amp: 'bf16' or 'fp16' tests in mixed precision.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        device: 'cpu', 'cuda', 'cuda:1'; the GPU where there is one when None.
        trust_checkpoint: unpickle freely when loading; any code in the file then runs.
        allow_partial: go on when the checkpoint does not fit the model.
        causal: references come from past frames only, and frames in their order, as in
            `VideoDetector.stream(causal=True)`.
        graphs: replay CUDA graphs on a GPU.

    Returns:
        metrics by name; empty without `evaluate`.

    Raises:
        ConfigError: a mistake in the config, found before any work.
        CheckpointError: the checkpoint is absent, damaged, or does not fit.
        WriteError: the work dir, `out` or `show_dir` cannot be written; before any work.
    """
    cfg = prepare_config(config, cfg_options, work_dir, launcher, device, trust_checkpoint)
    absent = [key for key in NEEDED if not cfg.get(key)]
    if absent:
        raise ConfigError(f'Cannot test: the config has no {", ".join(absent)}.')
    if amp:
        check_amp(amp, device)
    if not is_url(checkpoint):
        existing_file(checkpoint)
    check_folder(cfg.work_dir)  # what is written after hours is tried now
    if out:
        check_writable(out)
    if show_dir:
        check_folder(show_dir)
    for key in TRAINING_KEYS:
        cfg.pop(key, None)
    cfg.update(load_from=str(checkpoint), resume=False, allow_partial=allow_partial)
    if not cfg.get('test_evaluator'):
        cfg.test_evaluator = dict(type='VideoDetectionMetric')
    if cfg.get('test_cfg') is None:
        cfg.test_cfg = dict(type='VideoTestLoop')
    if (cfg.get('randomness') or {}).get('seed') is None:
        cfg.randomness = dict(seed=0)
    if amp:
        cfg.test_cfg.amp = amp
    if cfg.test_cfg.get('type') == 'VideoTestLoop':
        cfg.test_cfg.graphs = graphs
    _let_videos_take_turns(cfg.test_dataloader)
    if causal:
        look_back_only(cfg)
    options = {'work_dir': cfg.work_dir, 'out_file': out, 'format_only': format_only}
    options['evaluate'] = evaluate and not format_only
    set_metric_options(cfg.test_evaluator, options, eval_options)
    _set_hooks(cfg, show_dir, show_score_thr)

    from mmdet.engine.runner import VideoRunner

    return VideoRunner.from_cfg(cfg).test()


def look_back_only(cfg: Config) -> None:
    """Test with the model's causal plan, and frames in their order.

    Raises:
        ConfigError: the test set is not one dataset of videos.
    """
    dataset = cfg.test_dataloader.dataset
    if 'pipeline' not in dataset:
        raise ConfigError(
            f'--causal needs one dataset as `test_dataloader.dataset`, got a {dataset.get("type")}.'
        )
    dataset.shuffle_video_frames = False
    cfg.test_cfg.causal = True


def _let_videos_take_turns(loader: dict) -> None:
    """Frames of as many videos as a batch has places, unless the config says something else."""
    sampler = loader.get('sampler') or {}
    if loader.get('batch_size', 1) > 1 and sampler.get('type') == 'VideoSampler':
        sampler.setdefault('videos_at_once', loader.batch_size)


def _set_hooks(cfg: Config, show_dir: str | None, score_thr: float) -> None:
    hooks = list(cfg.get('custom_hooks') or [])
    if show_dir:
        hooks.append(dict(type='DrawDetectionsHook', out_dir=show_dir, score_thr=score_thr))
    cfg.custom_hooks = hooks
    cfg.visualizer = dict(type='Visualizer')  # a test draws no curves
