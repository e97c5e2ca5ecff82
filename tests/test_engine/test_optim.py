"""The optimizer's step: fused equals plain, norms that nothing waits for, mixed precision."""

import pytest
import torch
from engine_toy import ToyDetector
from torch import nn
from toy_runs import CONFIG, ONE_EPOCH, assert_same, train

from mmdet import apis
from mmdet.core.errors import ConfigError
from mmdet.engine.optim import AmpOptimWrapper, OptimWrapper, autocast, with_fused

ADAMW = dict(_delete_=True, type='AdamW', lr=0.01, weight_decay=0.1)
SGD = dict(_delete_=True, type='SGD', lr=0.05, momentum=0.9)


@pytest.mark.parametrize(
    ('optimizer', 'expected'),
    [
        ({'type': 'AdamW', 'lr': 1}, True),
        ({'type': 'SGD', 'lr': 1, 'fused': False}, False),
        ({'type': 'SGD', 'lr': 1, 'foreach': True}, None),
        ({'type': 'RMSprop', 'lr': 1}, None),
    ],
)
def test_what_is_fused(optimizer, expected):
    before = {**optimizer}
    fused = with_fused({'type': 'OptimWrapper', 'optimizer': optimizer})
    assert fused['optimizer'].get('fused') is expected and optimizer == before
    several = {'constructor': 'mine', 'generator': {'optimizer': {'type': 'SGD'}}}
    assert with_fused(several) == several


@pytest.mark.parametrize('saved', [True, False])
@pytest.mark.parametrize('optimizer', [SGD, ADAMW], ids=['SGD', 'AdamW'])
def test_a_run_resumes_in_the_form_of_its_own_config(tmp_path, saved, optimizer):
    def run(folder, fused, more=None, **kwargs):
        options = {'optim_wrapper.optimizer': {**optimizer, 'fused': fused}, **(more or {})}
        runner = train(tmp_path / folder, options, validate=False, **kwargs)
        assert runner.optim_wrapper.param_groups[0]['fused'] is fused
        return runner

    run('a', saved, ONE_EPOCH)
    resumed, whole = run('a', not saved, resume='auto'), run('b', not saved)
    assert resumed.iter == 14
    expected = dict(whole.model.named_parameters())
    for name, value in resumed.model.named_parameters():
        if name != 'conv1.bias':  # before a batch norm its gradient is rounding, which Adam scales
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ('clip', 'norm', 'moved'),
    [
        ({'max_norm': 0.5}, (6 * 4) ** 0.5, 0.5),  # six gradients of 2
        ({'type': 'value', 'clip_value': 0.25}, None, 0.25 * 6**0.5),
    ],
)
def test_the_norm_is_that_before_clipping_and_given_once(clip, norm, moved):
    layer = nn.Linear(3, 2, bias=False)
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0), clip_grad=clip)
    before = layer.weight.detach().clone()
    wrapper.update_params(layer(torch.ones(1, 3)).sum() * 2)
    found = wrapper.take_grad_norm()
    assert found is norm is None or float(found) == pytest.approx(norm)
    assert float((layer.weight.detach() - before).norm()) == pytest.approx(moved, rel=1e-4)
    assert wrapper.take_grad_norm() is None


# -- mixed precision -------------------------------------------------------------------------------


def test_bf16_trains_tests_and_resumes_on_a_cpu_with_fp32_weights(tmp_path):
    half = train(tmp_path / 'half', amp='bf16', validate=False)
    full = train(tmp_path / 'full', validate=False)
    pairs = list(zip(half.model.parameters(), full.model.parameters(), strict=True))
    for one, two in pairs:
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, two, atol=0.05, rtol=0.05)
    assert not all(torch.equal(one, two) for one, two in pairs)
    train(tmp_path / 'again', ONE_EPOCH, amp='bf16', validate=False)
    assert_same(train(tmp_path / 'again', amp='bf16', validate=False, resume='auto'), half)
    options = dict(checkpoint=str(tmp_path / 'full/epoch_2.pth'), work_dir=str(tmp_path))
    plain, cast = (apis.test(CONFIG, amp=amp, **options)['toy/score'] for amp in (None, 'bf16'))
    assert plain != cast == pytest.approx(plain, abs=0.02)


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
    seen, original = set(), ToyDetector.start

    def start(self, clips, states):
        on = torch.is_autocast_enabled('cpu')
        seen.add(torch.get_autocast_dtype('cpu') if on else None)
        return original(self, clips, states)

    monkeypatch.setattr(ToyDetector, 'start', start)
    train(tmp_path, {**ONE_EPOCH, **options}, amp=amp)
    assert seen == {expected}
    with pytest.raises(ValueError, match='Legal: bf16, fp16'):
        autocast('int8', 'cpu')


def test_fp16_unscales_before_clipping():
    """A step with scaled loss and clipped gradients equals the one without scaling."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    x, clip, before = torch.randn(8, 4), dict(max_norm=0.1), layers[0].weight.clone()
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in layers]
    scaled = AmpOptimWrapper(optimizers[0], 'fp16', loss_scale=64.0, clip_grad=clip)
    plain = OptimWrapper(optimizers[1], clip_grad=clip)
    for wrapper, layer in zip((scaled, plain), layers, strict=True):
        with wrapper.optim_context(layer):
            loss = layer(x).float().square().sum()
        wrapper.update_params(loss)
    torch.testing.assert_close(layers[0].weight, layers[1].weight, atol=1e-4, rtol=1e-2)
    assert (layers[0].weight - before).norm() > 5e-3  # of at most lr * max_norm = 1e-2


def test_fp16_skips_a_step_that_overflows_and_lowers_the_scale():
    layer = nn.Linear(2, 2)
    before = layer.weight.clone()
    wrapper, other = (
        AmpOptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1), 'fp16') for _ in range(2)
    )
    scale = wrapper.loss_scaler.get_scale()
    wrapper.update_params(layer(torch.ones(1, 2)).sum() * 1e38)
    assert torch.equal(layer.weight, before)
    other.load_state_dict(wrapper.state_dict())
    assert other.loss_scaler.get_scale() == wrapper.loss_scaler.get_scale() == scale / 2


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_fp16_on_a_cpu_says_what_to_use(tmp_path):
    with pytest.raises(ConfigError, match='--amp bf16'):
        train(tmp_path, amp='fp16')
