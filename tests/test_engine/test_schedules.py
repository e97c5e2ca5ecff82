"""The schedules of configs/_base_ give the released learning rates."""

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdet.registry import PARAM_SCHEDULERS

LINEAR, CONSTANT = (1 / 3, 1, 500), (1 / 3, 1 / 3, 500)  # factors at both ends, iterations
STEPS = {  # base learning rate, epochs, epochs before which it is divided by 10, warmup, of biases
    'sgd_3x': (1e-3, 3, [2], LINEAR, 1),
    'sgd_6x': (1e-3, 6, [4], LINEAR, 1),
    'sgd_7x': (1e-2, 7, [2, 5], LINEAR, 1),
    'sgd_9x': (1e-3, 9, [6], LINEAR, 1),
    'sgd_c4_1x': (2e-3, 4, [3], LINEAR, 2),
    'adamw_3x': (2.5e-5, 3, [2], LINEAR, 1),
    'adamw_6x': (2.5e-5, 6, [4], LINEAR, 1),
    'adamw_9x': (2.5e-5, 9, [6], LINEAR, 1),
    'fcos_3x': (1e-3, 3, [2], CONSTANT, 2),
    'fcos_9x': (1e-3, 9, [6], CONSTANT, 2),
    'centernet_80e': (1e-4, 80, [50], (1e-3, 1, 1000), 1),
}
COSINES = {  # rates at the begin and the end, warmup, epochs
    'sample_2x': (4e-4, 4e-6, 30, 2),
    'sample_5x': (2e-3, 2e-5, 50, 5),
}
UNCLIPPED = ('adamw_9x', 'sgd_c4_1x')


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(2)
        self.qkv = nn.Linear(2, 2)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(3))


def run(repo, name, per_epoch):
    """Learning rates [iterations, parameters] of a whole run; settings by parameter; the config."""
    cfg, net = Config.fromfile(repo / f'configs/_base_/schedules/{name}.py'), Net()
    wrapper = build_optim_wrapper(net, cfg.optim_wrapper)
    shared = dict(optimizer=wrapper, epoch_length=per_epoch)
    schedulers = [PARAM_SCHEDULERS.build({**s, **shared}) for s in cfg.param_scheduler]
    group_of = {id(p): group for group in wrapper.optimizer.param_groups for p in group['params']}
    groups = {name: group_of[id(p)] for name, p in net.named_parameters()}
    rates = []
    for iteration in range(1, cfg.train_cfg.max_epochs * per_epoch + 1):
        rates.append([group['lr'] for group in groups.values()])
        wrapper.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or iteration % per_epoch == 0:
                scheduler.step()
    return np.array(rates), groups, cfg


@pytest.mark.parametrize('name', COSINES)
def test_the_rate_of_the_sample_videos_falls_to_its_end_with_the_run(repo, name):
    begin, end, warmup, epochs = COSINES[name]
    rates, _, _ = run(repo, name, per_epoch=270)
    iteration = np.arange(epochs * 270)
    turn = np.pi * (iteration - warmup) / (len(iteration) - warmup)
    cosine = end + (begin - end) * (1 + np.cos(turn)) / 2
    expected = np.where(iteration < warmup, begin * (0.1 + 0.9 * iteration / warmup), cosine)
    np.testing.assert_allclose(rates, np.stack([expected] * rates.shape[1], axis=1), rtol=1e-6)


@pytest.mark.parametrize('name', STEPS)
def test_the_rate_warms_up_and_falls_in_steps(repo, name):
    base, epochs, steps, (first, last, warmup), of_biases = STEPS[name]
    per_epoch = 173  # the warmup ends within an epoch, and after a step of 3x and 7x
    rates, groups, cfg = run(repo, name, per_epoch)
    iteration = np.arange(epochs * per_epoch)
    expected = base * 0.1 ** sum((iteration // per_epoch >= step).astype(int) for step in steps)
    warm = first + (last - first) * iteration / warmup
    expected *= np.where(iteration < warmup, warm, 1)
    several = [of_biases if parameter == 'qkv.bias' else 1 for parameter in groups]
    np.testing.assert_allclose(rates, expected[:, None] * several, rtol=1e-9)
    assert ('clip_grad' in cfg.optim_wrapper) == (name not in UNCLIPPED)
    if name.startswith('adamw'):  # neither norms nor bias tables decay
        plain = {n for n, group in groups.items() if group['weight_decay'] > 0}
        assert plain == {'qkv.weight', 'qkv.bias'}
