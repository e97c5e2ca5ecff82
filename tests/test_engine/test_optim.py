"""Fused optimizers: where, equal to the plain ones, and resumable in either form."""

from pathlib import Path

import engine_toy  # noqa: F401
import pytest
import torch

from mmdet import apis
from mmdet.engine.optim import with_fused

CONFIG = Path(__file__).parent / 'toy_config.py'
ADAMW = dict(_delete_=True, type='AdamW', lr=0.01, weight_decay=0.1)
SGD = dict(_delete_=True, type='SGD', lr=0.05, momentum=0.9)


@pytest.mark.parametrize(
    ('optimizer', 'expected'),
    [
        ({'type': 'SGD', 'lr': 1}, True),
        ({'type': 'AdamW', 'lr': 1}, True),
        ({'type': 'SGD', 'lr': 1, 'fused': False}, False),
        ({'type': 'SGD', 'lr': 1, 'foreach': True}, None),
        ({'type': 'RMSprop', 'lr': 1}, None),
    ],
)
def test_what_is_fused(optimizer, expected):
    given = {'type': 'OptimWrapper', 'optimizer': optimizer}
    before = {**optimizer}
    assert with_fused(given)['optimizer'].get('fused') is expected
    assert given['optimizer'] == before


def test_a_wrapper_without_one_optimizer_is_left_alone():
    cfg = {'constructor': 'mine', 'generator': {'optimizer': {'type': 'SGD'}}}
    assert with_fused(cfg) == cfg


def assert_close(one, other):
    """All weights but the bias before a batch norm: its gradient is rounding, which Adam scales."""
    pairs = zip(one.model.named_parameters(), other.model.parameters(), strict=True)
    for (name, value), expected in pairs:
        if name != 'conv1.bias':
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5, msg=name)


def run(work_dir, optimizer, **kwargs):
    options = {'optim_wrapper.optimizer': optimizer, **kwargs.pop('options', {})}
    return apis.train(CONFIG, work_dir=str(work_dir), cfg_options=options, validate=False, **kwargs)


@pytest.mark.parametrize('optimizer', [SGD, ADAMW], ids=['SGD', 'AdamW'])
def test_a_fused_training_equals_the_plain_one_up_to_rounding(tmp_path, optimizer):
    fused = run(tmp_path / 'fused', optimizer, seed=3)
    plain = run(tmp_path / 'plain', {**optimizer, 'fused': False}, seed=3)
    assert [r.optim_wrapper.param_groups[0]['fused'] for r in (fused, plain)] == [True, False]
    assert_close(fused, plain)


@pytest.mark.parametrize('saved', [True, False])
@pytest.mark.parametrize('optimizer', [SGD, ADAMW], ids=['SGD', 'AdamW'])
def test_a_run_resumes_in_its_own_form(tmp_path, optimizer, saved):
    """On another machine, or from a checkpoint of before: the form is not part of the state."""
    half = {'train_cfg.max_epochs': 1}
    run(tmp_path, {**optimizer, 'fused': saved}, options=half, seed=3)
    runner = run(tmp_path, {**optimizer, 'fused': not saved}, resume='auto')
    assert runner.iter == 14 and runner.optim_wrapper.param_groups[0]['fused'] is not saved
    whole = run(tmp_path / 'whole', {**optimizer, 'fused': not saved}, seed=3)
    assert_close(runner, whole)
