"""Frames with detections of `tools/test.py --show-dir`: where they go, and what is drawn."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmdet.core.errors import UndecodableFrameError
from mmdet.engine.hooks import DrawDetectionsHook
from mmdet.structures import Clip, Detections, Frame


def test_frames_are_drawn_in_the_folders_of_the_data(tmp_path):
    source = tmp_path / 'data/val/A/000000.png'
    source.parent.mkdir(parents=True)
    cv2.imwrite(str(source), np.zeros((60, 80, 3), np.uint8))
    dataset = SimpleNamespace(classes=('cat',), img_prefix=str(tmp_path / 'data'))
    runner = SimpleNamespace(
        test_dataloader=SimpleNamespace(dataset=dataset), logger=SimpleNamespace(info=print)
    )
    hook = DrawDetectionsHook(str(tmp_path / 'shown'), score_thr=0.5)
    hook.before_test(runner)
    found = Detections(
        torch.tensor([[10.0, 10.0, 50.0, 40.0]]), torch.tensor([0.9]), torch.tensor([0])
    )
    hook.after_test_iter(runner, 0, [Clip([Frame(path=str(source))])], [found])
    drawn = cv2.imread(str(tmp_path / 'shown/val/A/000000.png'))
    assert drawn.shape == (60, 80, 3) and drawn.any()
    # an annotation file may say anything
    before = set(tmp_path.rglob('*'))
    for path in (tmp_path / 'data/../x.png', tmp_path / 'data/val/../../../y.png'):
        cv2.imwrite(str(path), np.zeros((60, 80, 3), np.uint8))
        hook.after_test_iter(runner, 0, [Clip([Frame(path=str(path))])], [found])
    written = set(tmp_path.rglob('*')) - before - {tmp_path / 'x.png'}
    assert written == {tmp_path / 'shown/x.png', tmp_path / 'shown/y.png'}
    (tmp_path.parent / 'y.png').unlink()
    assert not cv2.imread(str(tmp_path / 'x.png')).any()
    source.write_bytes(b'gone')
    with pytest.raises(UndecodableFrameError, match=r'000000\.png'):
        hook.after_test_iter(runner, 0, [Clip([Frame(path=str(source))])], [found])
