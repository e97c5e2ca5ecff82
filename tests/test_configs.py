"""Every config under configs/ and every registered model, without naming them one by one."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

import mmdet.models  # noqa: F401  (registers the models)
from mmdet.engine.config_check import check_config
from mmdet.models.base import BaseVideoDetector
from mmdet.registry import DATASETS, MODELS, TASK_UTILS, TRANSFORMS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
MODEL_TESTS = Path(__file__).with_name('test_models')
EXPERIMENTS = sorted(set(CONFIGS.glob('**/*.py')) - set(CONFIGS.glob('_base_/**/*.py')))
PUBLISHED = [path for path in EXPERIMENTS if 'vid' in path.relative_to(CONFIGS).parts]

# what released checkpoints hold, by the start of the config's name
PARAMETERS = {
    'eovod_fcos_r101_released': 72_156_008,
    'faster_rcnn_r101_dc5': 81_223_955,
    'faster_rcnn_r50_dc5': 62_231_827,
    'faster_rcnn_r101_fpn': 60_488_934,
    'faster_rcnn_swint_fpn': 44_895_072,
    'fcos_r101_fpn': 51_172_200,
    'mamba_r101_dc5': 89_620_755,
    'selsa_r101_dc5': 89_620_755,
    'stpn_selsa_swinb_adam': 112_836_958,
    'stpn_selsa_swint_adam': 53_403_424,
    'stpn_swint_adam': 45_006_624,
    'swin_t': 44_895_072,
    'tdvit_b_joint': 104_242_270,
    'tdvit_b_plus_joint': 110_552_446,
    'tdvit_s_joint': 66_212_976,
    'tdvit_s_plus_joint': 69_765_960,
    'tdvit_t_cross': 44_895_072,
    'tdvit_t_joint': 44_895_072,
    'tdvit_t_plus_joint': 48_448_056,
}


def named(paths: list[Path]) -> dict:
    return dict(argvalues=paths, ids=[str(p.relative_to(CONFIGS)) for p in paths])


@functools.cache
def read(path: Path) -> Config:
    return Config.fromfile(path)


def nodes(node: Any) -> Iterator[dict]:
    """Every dict with a `type` in a config."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from nodes(value)


def _name(path: Path) -> str:
    """Without the schedule."""
    return path.stem.rsplit('_', 1)[0]


@pytest.mark.parametrize('path', **named(EXPERIMENTS))
def test_config_has_no_mistake_and_its_model_has_the_parameters_of_released_checkpoints(path):
    cfg = read(path)
    assert cfg.default_scope == 'mmdet'
    check_config(cfg)
    with torch.device('meta'):  # without memory for its weights
        model = MODELS.build(cfg.model)
    assert isinstance(model, BaseVideoDetector)
    number = sum(p.numel() for p in model.parameters())
    assert path not in PUBLISHED or number == PARAMETERS.get(_name(path), number)


def test_every_released_checkpoint_has_a_config():
    assert set(PARAMETERS) <= set(map(_name, PUBLISHED))


@pytest.mark.parametrize('path', **named(EXPERIMENTS))
def test_config_has_all_parts_of_training_and_testing(path):
    cfg = read(path)
    for part in ('train', 'val', 'test'):
        assert cfg.get(f'{part}_cfg') and cfg.get(f'{part}_dataloader'), part
        for dataset in nodes(cfg[f'{part}_dataloader'].dataset):
            if 'pipeline' in dataset:
                assert DATASETS.get(dataset['type'])
                first, second, *_, last = (TRANSFORMS.get(t['type']) for t in dataset['pipeline'])
                assert (first.__name__, last.__name__) == ('LoadFrames', 'PackClip')
                # `--cfg-options test_dataloader.dataset.pipeline.1.scale=...` works for all
                assert part == 'train' or second.__name__ == 'Resize'
    assert cfg.optim_wrapper and cfg.param_scheduler and cfg.val_evaluator and cfg.test_evaluator
    detector = cfg.model.get('detector', cfg.model)
    assert 'train_cfg' in detector and 'test_cfg' in detector


@pytest.mark.parametrize('registry', [MODELS, TASK_UTILS], ids=['models', 'task utils'])
def test_every_registered_part_is_built_by_some_test(registry):
    """In a config, all of which are built above, or named in the tests of the models."""
    used = {n['type'] for path in EXPERIMENTS for n in nodes(read(path).model)}
    tests = ''.join(path.read_text() for path in MODEL_TESTS.glob('test_*.py'))
    own = {n for n, c in registry.module_dict.items() if c.__module__.startswith('mmdet.')}
    assert len(own) > 3
    assert [name for name in sorted(own - used) if name not in tests] == []
