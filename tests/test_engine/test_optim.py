"""The optimizer's step: fused equals plain, norms that nothing waits for, mixed precision."""

import pytest
import torch
from engine_toy import ToyDetector
from torch import nn
from toy_runs import CONFIG, ONE_EPOCH, assert_same, train

from mmdet import apis
from mmdet.engine.optim import AmpOptimWrapper, OptimWrapper


def test_a_run_resumes_in_the_form_of_its_own_config(tmp_path):
    def run(folder, fused, more=None, **kwargs):
        optimizer = dict(_delete_=True, type='AdamW', lr=0.01, weight_decay=0.1, fused=fused)
        options = {'optim_wrapper.optimizer': optimizer, **(more or {})}
        runner = train(tmp_path / folder, options, validate=False, **kwargs)
        assert runner.optim_wrapper.param_groups[0]['fused'] is fused
        return runner

    run('a', True, ONE_EPOCH)
    resumed, whole = run('a', False, resume='auto'), run('b', False)
    assert resumed.iter == 14
    expected = dict(whole.model.named_parameters())
    for name, value in resumed.model.named_parameters():
        if name != 'conv1.bias':  # before a batch norm its gradient is rounding, which Adam scales
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)


# -- mixed precision -------------------------------------------------------------------------------


def test_bf16_trains_tests_and_resumes_on_a_cpu_with_fp32_weights(tmp_path):
    half = train(tmp_path / 'half', amp='bf16', validate=False)
    full = train(tmp_path / 'full', validate=False)
    pairs = list(zip(half.model.parameters(), full.model.parameters(), strict=True))
    for one, two in pairs:
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, two, atol=0.05, rtol=0.05)
    assert not all(torch.equal(one, two) for one, two in pairs)
    (tmp_path / 'half/epoch_2.pth').unlink()
    assert_same(train(tmp_path / 'half', amp='bf16', validate=False, resume='auto'), half)
    options = dict(checkpoint=str(tmp_path / 'full/epoch_2.pth'), work_dir=str(tmp_path))
    plain, cast = (apis.test(CONFIG, amp=amp, **options)['toy/score'] for amp in (None, 'bf16'))
    assert plain != cast == pytest.approx(plain, abs=0.02)


@pytest.mark.parametrize(('amp', 'expected'), [(None, None), ('bf16', torch.bfloat16)])
def test_validation_runs_in_the_precision_of_training(tmp_path, monkeypatch, amp, expected):
    seen, original = set(), ToyDetector.start

    def start(self, clips, states):
        on = torch.is_autocast_enabled('cpu')
        seen.add(torch.get_autocast_dtype('cpu') if on else None)
        return original(self, clips, states)

    monkeypatch.setattr(ToyDetector, 'start', start)
    train(tmp_path, ONE_EPOCH, amp=amp)
    assert seen == {expected}


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
    before, dynamic = layers[0].weight.clone(), AmpOptimWrapper(optimizers[0], 'fp16')
    scale = dynamic.loss_scaler.get_scale()
    dynamic.update_params(layers[0](x).sum() * 1e38)  # a step that overflows is left out
    assert torch.equal(layers[0].weight, before) and dynamic.loss_scaler.get_scale() == scale / 2
