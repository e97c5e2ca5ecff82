"""Scoring a results file for the test set of a config, without a model."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine import Config
from mmengine.registry import init_default_scope

from mmdet.core.errors import ConfigError, EvaluationError
from mmdet.engine.config_load import load_config
from mmdet.evaluation.evaluate import evaluate_results
from mmdet.registry import DATASETS, closest

OPTIONS = ('motion_file', 'frame_list', 'classes', 'metrics', 'cache_dir')
IGNORED = ('vid_style', 'classwise')  # of 1.x: both protocols and all classes are always reported


def evaluate_config(
    config: str | os.PathLike | Config,
    results: str | os.PathLike,
    *,
    metrics: tuple[str, ...] | None = None,
    work_dir: str = '',
    eval_options: Mapping[str, Any] | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, float | None]:
    """Score a results file against the annotation file of the config's test dataset.

    Args:
        config: path of a config file, or a config.
        results: `.pkl` or COCO `.json`.
        metrics: which protocols, of `vid` and `coco`. None: those of the config's evaluator.
        work_dir: for the reports; else the config's, else ./work_dirs/<config name>.
        eval_options: `motion_file`, `frame_list`, `classes`, `metrics`, `cache_dir`, over those of
            the config's evaluator.
        cfg_options: dotted config keys and values.

    Returns:
        as `evaluate_results`.

    Raises:
        ConfigError: a mistake in the config or the options.
        EvaluationError: results that do not fit the annotation file.
    """
    cfg = load_config(config, cfg_options, work_dir)
    options = scoring_options(cfg, metrics, eval_options)
    return evaluate_results(results, work_dir=cfg.work_dir, **options)


def scoring_options(
    cfg: Config,
    metrics: tuple[str, ...] | None = None,
    eval_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The arguments of `evaluate_results` that the config gives, with those of the command line.

    Args and errors: as of `evaluate_config`.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = scored_dataset(cfg)
    options = _evaluator_options(cfg) | _checked(eval_options or {})
    if metrics is not None:
        options.setdefault('metrics', metrics)
    options.setdefault('classes', _classes(dataset))
    return {'ann_file': dataset['ann_file'], **options}


def scored_dataset(cfg: Config) -> Mapping:
    """The config of the test dataset.

    Raises:
        ConfigError: there is none, or it names no annotation file.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if not isinstance(dataset, Mapping) or 'ann_file' not in dataset:
        raise ConfigError(
            'The config has no test_dataloader.dataset.ann_file, so there is no ground truth. Set '
            'it, for example with --cfg-options test_dataloader.dataset.ann_file=FILE.json'
        )
    return dataset


def _classes(dataset: Mapping) -> tuple[str, ...] | None:
    """The class list that the dataset of that config would have."""
    if dataset.get('classes') or 'type' not in dataset:
        return dataset.get('classes')
    return getattr(DATASETS.get(dataset['type']), 'CLASSES', None)


def _evaluator_options(cfg: Config) -> dict[str, Any]:
    evaluator = cfg.get('test_evaluator') or {}
    if not isinstance(evaluator, Mapping):
        evaluator = next((e for e in evaluator if e['type'] == 'VideoDetectionMetric'), {})
    return {name: evaluator[name] for name in OPTIONS if evaluator.get(name) is not None}


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in options if name not in OPTIONS + IGNORED]
    if unknown:
        raise EvaluationError(
            f'--eval-options: there is no {unknown[0]!r}. {closest(unknown[0], OPTIONS)}'
        )
    return {name: value for name, value in options.items() if name in OPTIONS}
