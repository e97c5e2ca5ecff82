"""Losses that wait on their device until a line is written; frames with detections."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmdet.core.errors import UndecodableFrameError
from mmdet.engine import hooks
from mmdet.engine.hooks import DrawDetectionsHook, LossLog
from mmdet.structures import Clip, Detections, Frame


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


def test_frames_are_drawn_in_the_folders_of_the_data(tmp_path):
    dataset = SimpleNamespace(classes=('cat',), img_prefix=str(tmp_path / 'data'))
    loader, logger = SimpleNamespace(dataset=dataset), SimpleNamespace(info=print)
    runner = SimpleNamespace(test_dataloader=loader, logger=logger)
    hook = DrawDetectionsHook(str(tmp_path / 'shown'), score_thr=0.5)
    hook.before_test(runner)
    box = torch.tensor([[10.0, 10.0, 50.0, 40.0]])
    found = Detections(box, torch.tensor([0.9]), torch.tensor([0]))
    (tmp_path / 'data/val/A').mkdir(parents=True)
    # an annotation file may say anything; what is not of the data goes to the folder itself
    for source, target in (('data/val/A/0.png', 'val/A/0.png'), ('data/../y.png', 'y.png')):
        cv2.imwrite(str(tmp_path / source), np.zeros((60, 80, 3), np.uint8))
        hook.after_test_iter(runner, 0, [Clip([Frame(str(tmp_path / source))])], [found])
        drawn = cv2.imread(str(tmp_path / 'shown' / target))
        assert drawn.shape == (60, 80, 3) and drawn.any()
    (tmp_path / source).write_bytes(b'gone')
    with pytest.raises(UndecodableFrameError, match=r'y\.png'):
        hook.after_test_iter(runner, 0, [Clip([Frame(str(tmp_path / source))])], [found])
