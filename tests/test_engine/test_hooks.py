"""Losses that wait on their device until a line is written; frames with detections."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from toy_runs import train

from mmdet.core.errors import UndecodableFrameError
from mmdet.engine import hooks
from mmdet.engine.hooks import DrawDetectionsHook, LossLog
from mmdet.structures import Clip, Detections, Frame


def test_values_come_back_unchanged_in_order_and_once():
    log = LossLog()
    given = [{'loss': torch.tensor(i / 3, requires_grad=True), 'acc': 0.5 * i} for i in range(4)]
    given.insert(2, {'grad_norm': torch.tensor([7.0]), **given[0]})
    for values in [*given, {}]:
        log.add(values)
    rows, seconds = log.take(2.5)
    assert seconds == 2.5
    expected = [{k: torch.as_tensor(v).item() for k, v in values.items()} for values in given]
    assert rows == expected and [list(row) for row in rows] == [list(row) for row in expected]
    assert log.take(1.0) == ([], 1.0)


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


def test_frames_are_drawn_in_the_folders_of_the_data(tmp_path):
    dataset = SimpleNamespace(classes=('cat',), img_prefix=str(tmp_path / 'data'))
    loader, logger = SimpleNamespace(dataset=dataset), SimpleNamespace(info=print)
    runner = SimpleNamespace(test_dataloader=loader, logger=logger)
    hook = DrawDetectionsHook(str(tmp_path / 'shown'), score_thr=0.5)
    hook.before_test(runner)
    box = torch.tensor([[10.0, 10.0, 50.0, 40.0]])
    found = Detections(box, torch.tensor([0.9]), torch.tensor([0]))
    black = np.zeros((60, 80, 3), np.uint8)
    (tmp_path / 'data/val/A').mkdir(parents=True)
    # an annotation file may say anything; what is not of the data goes to the folder itself
    places = {'data/val/A/0.png': 'val/A/0.png', 'data/../x.png': 'x.png'}
    for source, target in (places | {'data/val/../../../y.png': 'y.png'}).items():
        cv2.imwrite(str(tmp_path / source), black)
        hook.after_test_iter(runner, 0, [Clip([Frame(str(tmp_path / source))])], [found])
        drawn = cv2.imread(str(tmp_path / 'shown' / target))
        assert drawn.shape == (60, 80, 3) and drawn.any()
        assert not cv2.imread(str(tmp_path / source)).any()
    (tmp_path / source).write_bytes(b'gone')
    with pytest.raises(UndecodableFrameError, match=r'y\.png'):
        hook.after_test_iter(runner, 0, [Clip([Frame(str(tmp_path / source))])], [found])
    (tmp_path / source).unlink()
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 3
