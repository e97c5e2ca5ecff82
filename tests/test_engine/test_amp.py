"""Mixed precision on a CPU, and the loss scaler's arithmetic."""

from pathlib import Path

import pytest
import torch
from engine_toy import ToyDetector
from mmengine.optim import OptimWrapper
from torch import nn

from mmdet import apis
from mmdet.core.errors import ConfigError
from mmdet.engine.optim import AmpOptimWrapper, autocast

CONFIG = Path(__file__).parent / 'toy_config.py'


def test_bf16_trains_on_a_cpu_with_fp32_weights(tmp_path):
    options = {'train_cfg.max_epochs': 1}
    kwargs = dict(seed=3, validate=False, cfg_options=options)
    runner = apis.train(CONFIG, work_dir=str(tmp_path / 'a'), amp='bf16', **kwargs)
    full = apis.train(CONFIG, work_dir=str(tmp_path / 'b'), **kwargs)
    for (name, one), two in zip(
        runner.model.named_parameters(), full.model.parameters(), strict=True
    ):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, two, atol=0.05, rtol=0.05, msg=name)
    assert any(
        not torch.equal(one, two)
        for one, two in zip(runner.model.parameters(), full.model.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ('options', 'amp', 'expected'),
    [
        ({}, None, None),
        ({}, 'bf16', torch.bfloat16),
        ({'optim_wrapper.type': 'AmpOptimWrapper'}, None, torch.bfloat16),
        ({'val_cfg.amp': None}, 'bf16', None),
    ],
)
def test_validation_runs_in_the_precision_of_training(
    tmp_path, monkeypatch, options, amp, expected
):
    seen = set()
    original = ToyDetector.start

    def start(self, clips, states):
        on = torch.is_autocast_enabled('cpu')
        seen.add(torch.get_autocast_dtype('cpu') if on else None)
        return original(self, clips, states)

    monkeypatch.setattr(ToyDetector, 'start', start)
    options = {'train_cfg.max_epochs': 1, **options}
    apis.train(CONFIG, work_dir=str(tmp_path), amp=amp, cfg_options=options)
    assert seen == {expected}


def test_bf16_resumes_to_the_same_weights(tmp_path):
    kwargs = dict(validate=False, amp='bf16')
    one = apis.train(CONFIG, work_dir=str(tmp_path / 'a'), seed=3, **kwargs)
    half = {'train_cfg.max_epochs': 1}
    apis.train(CONFIG, work_dir=str(tmp_path / 'b'), seed=3, cfg_options=half, **kwargs)
    two = apis.train(CONFIG, work_dir=str(tmp_path / 'b'), resume='auto', **kwargs)
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_autocast_uses_the_type_asked_for():
    layer = nn.Linear(2, 2)
    with autocast('bf16', 'cpu'):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with autocast(None, 'cpu'):
        assert layer(torch.ones(1, 2)).dtype == torch.float32
    with pytest.raises(ValueError, match='Legal: bf16, fp16'):
        autocast('int8', 'cpu')


def step(wrapper, layer, x):
    with wrapper.optim_context(layer):
        loss = layer(x).float().square().sum()
    wrapper.update_params(loss)


def test_fp16_unscales_before_clipping():
    """A step with scaled loss and clipped gradients equals the one without scaling."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(8, 4)
    clip = dict(max_norm=0.1)
    before = layers[0].weight.clone()
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in layers]
    step(AmpOptimWrapper(optimizers[0], 'fp16', loss_scale=64.0, clip_grad=clip), layers[0], x)
    step(OptimWrapper(optimizers[1], clip_grad=clip), layers[1], x)
    torch.testing.assert_close(layers[0].weight, layers[1].weight, atol=1e-4, rtol=1e-2)
    assert (layers[0].weight - before).norm() > 5e-3  # of at most lr * max_norm = 1e-2


def test_fp16_skips_a_step_that_overflows_and_lowers_the_scale():
    layer = nn.Linear(2, 2)
    before = layer.weight.clone()
    wrapper = AmpOptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1), 'fp16')
    scale = wrapper.loss_scaler.get_scale()
    wrapper.update_params(layer(torch.ones(1, 2)).sum() * 1e38)
    assert torch.equal(layer.weight, before)
    assert wrapper.loss_scaler.get_scale() == scale / 2
    other = AmpOptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1), 'fp16')
    other.load_state_dict(wrapper.state_dict())
    assert other.loss_scaler.get_scale() == scale / 2


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_fp16_on_a_cpu_says_what_to_use(tmp_path):
    with pytest.raises(ConfigError, match='--amp bf16'):
        apis.train(CONFIG, work_dir=str(tmp_path), amp='fp16')
    with pytest.raises(ConfigError, match='--amp bf16'):
        apis.test(CONFIG, 'x.pth', work_dir=str(tmp_path), amp='fp16')


def test_testing_in_bf16_changes_little(tmp_path):
    runner = apis.train(CONFIG, work_dir=str(tmp_path), seed=3, validate=False)
    assert runner.epoch == 2
    checkpoint = str(tmp_path / 'epoch_2.pth')
    full = apis.test(CONFIG, checkpoint, work_dir=str(tmp_path))
    half = apis.test(CONFIG, checkpoint, work_dir=str(tmp_path), amp='bf16')
    assert half != full
    assert half['toy/score'] == pytest.approx(full['toy/score'], abs=0.02)
