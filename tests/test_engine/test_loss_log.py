"""Losses that wait on their device until a line is written."""

import json

import pytest
import torch

from mmdet.engine import hooks
from mmdet.engine.hooks import LossLog
from mmdet.engine.optim import OptimWrapper


def test_values_come_back_in_order_and_once():
    log = LossLog()
    given = [{'loss': torch.tensor(i / 3, requires_grad=True), 'acc': 0.1 * i} for i in range(4)]
    given.insert(2, {'grad_norm': torch.tensor([7.0]), **given[0]})
    for values in given:
        log.add(values)
    log.add({})
    assert len(log) == 5
    rows, seconds = log.take(2.5)
    assert seconds == 2.5
    assert [list(row) for row in rows] == [list(values) for values in given]
    for row, values in zip(rows, given, strict=True):
        assert row == pytest.approx(
            {k: float(torch.as_tensor(v).detach()) for k, v in values.items()}, rel=1e-7
        )
    assert log.take(1.0) == ([], 1.0)


def test_values_of_single_precision_are_not_changed():
    value = torch.tensor(0.1234567)
    log = LossLog()
    log.add({'loss': value})
    assert log.take()[0] == [{'loss': value.item()}]


def test_the_mean_over_ranks_is_one_reduction(monkeypatch):
    """The other of two ranks has three times the values."""
    calls = []
    monkeypatch.setattr(hooks, 'get_world_size', lambda: 2)
    monkeypatch.setattr(hooks.dist, 'all_reduce', lambda t: calls.append(t.mul_(4)))
    log = LossLog()
    for i in range(3):
        log.add({'loss': torch.tensor(float(i)), 'acc': torch.tensor(1.0)})
    rows, seconds = log.take(0.5)
    assert rows == [{'loss': 2.0 * i, 'acc': 2.0} for i in range(3)] and seconds == 1.0
    assert len(calls) == 1


def test_the_norm_is_that_before_clipping_and_given_once():
    layer = torch.nn.Linear(3, 2, bias=False)
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0), clip_grad={'max_norm': 0.5})
    before = layer.weight.detach().clone()
    wrapper.update_params(layer(torch.ones(1, 3)).sum() * 2)
    norm = wrapper.take_grad_norm()
    assert float(norm) == pytest.approx((6 * 4) ** 0.5)  # six gradients of 2
    assert float((layer.weight.detach() - before).norm()) == pytest.approx(0.5, rel=1e-4)
    assert wrapper.take_grad_norm() is None


def test_clipping_by_value_has_no_norm():
    layer = torch.nn.Linear(1, 1, bias=False)
    clip = {'type': 'value', 'clip_value': 0.25}
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0), clip_grad=clip)
    before = layer.weight.item()
    wrapper.update_params(layer(torch.ones(1, 1)).sum())
    assert layer.weight.item() == pytest.approx(before - 0.25)
    assert wrapper.take_grad_norm() is None


def test_the_log_has_every_loss_and_the_norm(tmp_path):
    """With a window of one, a line shows the value of its own iteration."""
    from test_step_watch import train

    train(tmp_path, {'log_processor.window_size': 1}, validate=False)
    rows = [json.loads(line) for line in next(tmp_path.rglob('scalars.json')).open()]
    assert [row['step'] for row in rows] == [1, 7, 14]
    assert all({'loss', 'loss_toy', 'grad_norm', 'lr', 'time', 'data_time'} <= set(r) for r in rows)
    assert all(row['loss'] == row['loss_toy'] for row in rows)
