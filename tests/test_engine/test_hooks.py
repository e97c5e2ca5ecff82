"""Losses that wait on their device until a line is written."""

import json

import pytest
import torch
from toy_runs import train

from mmdet.engine import hooks
from mmdet.engine.hooks import LossLog


def test_values_come_back_unchanged_in_order_and_once():
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
        assert row['loss'] == values['loss'].item()
        assert row['acc'] == pytest.approx(values['acc'], rel=1e-7)
    assert rows[2]['grad_norm'] == 7 and log.take(1.0) == ([], 1.0)


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


def test_the_log_has_every_loss_and_the_norm(tmp_path):
    """With a window of one, a line shows the value of its own iteration."""
    train(tmp_path, {'log_processor.window_size': 1}, validate=False)
    rows = [json.loads(line) for line in next(tmp_path.rglob('scalars.json')).open()]
    assert [row['step'] for row in rows] == [1, 7, 14]
    assert all({'loss', 'loss_toy', 'grad_norm', 'lr', 'time', 'data_time'} <= set(r) for r in rows)
    assert all(row['loss'] == row['loss_toy'] for row in rows)
