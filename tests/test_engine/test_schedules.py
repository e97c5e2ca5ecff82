"""The schedules of configs/_base_ give the released learning rates."""

import pytest
import torch
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdet.registry import PARAM_SCHEDULERS

# name: (base learning rate, epochs, epochs before which it is divided by 10, clips gradients)
EXPECTED = {
    'sgd_3x': (1e-3, 3, [2], True),
    'sgd_6x': (1e-3, 6, [4], True),
    'sgd_7x': (1e-2, 7, [2, 5], True),
    'adamw_3x': (2.5e-5, 3, [2], True),
    'adamw_6x': (2.5e-5, 6, [4], True),
    'adamw_9x': (2.5e-5, 9, [6], False),
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(2)
        self.qkv = nn.Linear(2, 2)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(3))


def closed_form(iteration, epoch, base, steps):
    rate = base * 0.1 ** sum(step <= epoch for step in steps)
    warm = 1 - (1 - iteration / 500) * (1 - 1 / 3) if iteration < 500 else 1.0
    return rate * warm


@pytest.mark.parametrize('name', EXPECTED)
def test_the_learning_rate_is_the_closed_form(repo, name):
    base, epochs, steps, clips = EXPECTED[name]
    cfg = Config.fromfile(repo / f'configs/_base_/schedules/{name}.py')
    assert cfg.train_cfg.max_epochs == epochs
    assert ('clip_grad' in cfg.optim_wrapper) == clips
    wrapper = build_optim_wrapper(Net(), cfg.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build({**s, 'optimizer': wrapper}) for s in cfg.param_scheduler]
    per_epoch, iteration = 173, 0  # the warmup ends within an epoch, and after a step of 3x and 7x
    for epoch in range(epochs):
        for _ in range(per_epoch):
            for group in wrapper.optimizer.param_groups:
                expected = closed_form(iteration, epoch, base, steps)
                assert group['lr'] == pytest.approx(expected, rel=1e-9)
            wrapper.step()
            schedulers[0].step()
            iteration += 1
        schedulers[1].step()


def test_adamw_decays_neither_norms_nor_bias_tables(repo):
    cfg = Config.fromfile(repo / 'configs/_base_/schedules/adamw_6x.py')
    net = Net()
    wrapper = build_optim_wrapper(net, cfg.optim_wrapper)
    decay = {id(g['params'][0]): g['weight_decay'] for g in wrapper.optimizer.param_groups}
    found = {name: decay[id(p)] for name, p in net.named_parameters()}
    assert found == {
        'norm1.weight': 0.0,
        'norm1.bias': 0.0,
        'qkv.weight': 0.05,
        'qkv.bias': 0.05,
        'relative_position_bias_table': 0.0,
    }
