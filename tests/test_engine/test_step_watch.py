"""Losses and signals that are read late, as on a GPU: what is found, and when."""

import signal

import pytest
import torch
from toy_runs import BY_ITERATION, interrupted_at, train

from mmdet.core.errors import NonFiniteLossError
from mmdet.engine.loops import VideoTrainLoop
from mmdet.engine.step_watch import StepWatch


@pytest.fixture
def frames(monkeypatch):
    """The loop reads two iterations late; the key frames of each iteration."""
    original, run_iter, seen = StepWatch.__init__, VideoTrainLoop.run_iter, []
    monkeypatch.setattr(StepWatch, '__init__', lambda self, device: original(self, device, lag=2))

    def watched(self, index, batch):
        seen.append(', '.join(clip.key.path for clip in batch))
        run_iter(self, index, batch)

    monkeypatch.setattr(VideoTrainLoop, 'run_iter', watched)
    return seen


# read in the epoch, at its end, in the next one
@pytest.mark.parametrize(('bad', 'by', 'steps'), [(6, BY_ITERATION, 6), (7, {}, 7), (9, {}, 11)])
def test_no_checkpoint_has_the_damage(tmp_path, frames, bad, by, steps):
    with pytest.raises(NonFiniteLossError) as caught:
        train(tmp_path, {'model.explode_at': bad, **by}, validate=False)
    assert f'at iteration {bad} (epoch {1 + (bad - 1) // 7}): loss nan' in str(caught.value)
    assert f'Key frames: {frames[bad - 1]}.' in str(caught.value)
    assert len(frames) == steps  # a checkpoint and the end of an epoch wait for all
    saved = [torch.load(path) for path in tmp_path.glob('*_*.pth')]
    last = bad - 1 if by else (7 if bad > 7 else 0)
    assert max((checkpoint['meta']['iter'] for checkpoint in saved), default=0) == last
    weights = [value for checkpoint in saved for value in checkpoint['state_dict'].values()]
    assert all(value.isfinite().all() for value in weights)


def test_a_signal_does_not_hide_a_loss_that_is_not_finite(tmp_path, frames):
    with interrupted_at(3, signal.SIGTERM):
        with pytest.raises(NonFiniteLossError, match='at iteration 5'):
            train(tmp_path, {'model.explode_at': 5}, validate=False)
    assert not list(tmp_path.glob('*.pth'))
