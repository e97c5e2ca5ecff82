"""The schedules of configs/_base_ give the released learning rates."""

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdet.registry import PARAM_SCHEDULERS

OF_THEIR_OWN = ('fcos_3x', 'fcos_9x', 'yolox_90e')  # schedules with a test each
SCHEDULES = sorted(
    path
    for path in Path(__file__).parents[2].glob('configs/_base_/schedules/*.py')
    if path.stem not in OF_THEIR_OWN
)

# name: (base learning rate, epochs, epochs before which it is divided by 10, clips gradients)
EXPECTED = {
    'sgd_3x': (1e-3, 3, [2], True),
    'sgd_6x': (1e-3, 6, [4], True),
    'sgd_7x': (1e-2, 7, [2, 5], True),
    'sgd_9x': (1e-3, 9, [6], True),
    'adamw_3x': (2.5e-5, 3, [2], True),
    'adamw_6x': (2.5e-5, 6, [4], True),
    'adamw_9x': (2.5e-5, 9, [6], False),
}


# iterations of an epoch: of the sample videos as rendered by default; of any data, as the warmup is
# over within 501 and all else goes by epochs
SAMPLE_EPOCH, ANY_EPOCH = 270, 600


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


def rates(path):
    """The learning rate of every iteration of a whole run, per parameter group; their minimum."""
    cfg = Config.fromfile(path)
    wrapper = build_optim_wrapper(Net(), cfg.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build({**s, 'optimizer': wrapper}) for s in cfg.param_scheduler]
    groups = wrapper.optimizer.param_groups
    found = []
    for _ in range(cfg.train_cfg.max_epochs):
        for _ in range(SAMPLE_EPOCH if path.stem.startswith('sample') else ANY_EPOCH):
            found.append([group['lr'] for group in groups])
            wrapper.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    return torch.tensor(found, dtype=torch.float64), cfg


@pytest.mark.parametrize('path', SCHEDULES, ids=[path.stem for path in SCHEDULES])
def test_the_rate_rises_once_then_falls_to_its_end_with_the_run(path):
    rate, cfg = rates(path)
    warmup = cfg.param_scheduler[0].end - 1
    assert (rate[:warmup].diff(dim=0) > 0).all()
    after = rate[warmup:].diff(dim=0)
    assert (after <= 0).all()
    falls = cfg.param_scheduler[1]
    if falls.type == 'MultiStepLR':
        assert 0 < max(falls.milestones) < cfg.train_cfg.max_epochs
        assert (after < 0).sum(dim=0).tolist() == [len(falls.milestones)] * rate.shape[1]
    else:  # a cosine: still falling in the last step, whose successor would be the minimum
        assert (after < 0).all()
        assert len(rate) == falls.begin + falls.T_max
        assert rate[-1].numpy() == pytest.approx(falls.eta_min, rel=1e-3)


@pytest.mark.parametrize(('name', 'step'), [('fcos_3x', 2), ('fcos_9x', 6)])
def test_fcos_starts_with_a_third_of_the_rate_and_biases_learn_twice_as_fast(repo, name, step):
    rate, cfg = rates(repo / f'configs/_base_/schedules/{name}.py')
    rate = rate.sort(dim=1).values  # weights, then biases
    expected = torch.full((len(rate),), 1e-3, dtype=torch.float64)
    expected[:500] /= 3
    expected[step * ANY_EPOCH :] /= 10
    torch.testing.assert_close(rate[:, 0], expected)
    torch.testing.assert_close(rate[:, -1], 2 * expected)
    assert len(rate) == cfg.train_cfg.max_epochs * ANY_EPOCH


def test_yolox_grows_with_the_square_of_the_iteration_and_ends_at_a_twentieth(repo):
    cfg = Config.fromfile(repo / 'configs/_base_/schedules/yolox_90e.py')
    wrapper, epoch = build_optim_wrapper(Net(), cfg.optim_wrapper), 20
    shared = dict(optimizer=wrapper, epoch_length=epoch)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, **shared)) for s in cfg.param_scheduler]
    found = []
    for _ in range(cfg.train_cfg.max_epochs * epoch):
        found.append(wrapper.optimizer.param_groups[0]['lr'])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    steps = 5 * epoch - 1
    for i in range(steps + 1):
        ramp = 1e-3 + (1 - 1e-3) * i / steps
        assert found[i] == pytest.approx(1e-3 * ramp**2, rel=1e-6)
    middle = found[45 * epoch]
    assert middle == pytest.approx((1e-3 + 5e-5) / 2, rel=0.03)
    assert max(found) == pytest.approx(1e-3) and found[-5 * epoch :] == [found[-1]] * 5 * epoch
    assert found[-1] == pytest.approx(5e-5, rel=0.02)
    decays = {group['weight_decay'] for group in wrapper.optimizer.param_groups}
    assert decays == {0.0, 5e-4}


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
