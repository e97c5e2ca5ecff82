"""A run that was stopped and resumed equals one that was not."""

from pathlib import Path

import pytest
import torch

from mmdet.apis import train
from mmdet.engine.checkpoint import find_latest_valid
from mmdet.engine.loops import TrainingInterrupted, VideoTrainLoop

CONFIG = Path(__file__).parent / 'toy_config.py'


def run(work_dir, **kwargs):
    options = {'train_dataloader.num_workers': 0, **kwargs.pop('cfg_options', {})}
    return train(CONFIG, work_dir=str(work_dir), cfg_options=options, **kwargs)


def weights(runner):
    return {k: v.clone() for k, v in runner.model.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Weights and optimizer after two uninterrupted epochs."""
    runner = run(tmp_path_factory.mktemp('whole'), seed=3)
    return weights(runner), runner.optim_wrapper.state_dict()


@pytest.fixture
def stop_at(monkeypatch):
    """Ends the run, as a kill would, before this iteration (counted from 0)."""

    def stop(iteration):
        original = VideoTrainLoop.run_iter

        def run_iter(self, index, batch):
            if self.iter == iteration:
                raise KeyboardInterrupt
            original(self, index, batch)

        monkeypatch.setattr(VideoTrainLoop, 'run_iter', run_iter)
        return lambda: monkeypatch.setattr(VideoTrainLoop, 'run_iter', original)

    return stop


@pytest.mark.parametrize('workers', [0, 2])
def test_resume_after_an_epoch_equals_the_whole_run(tmp_path, stop_at, whole, workers):
    options = {'train_dataloader.num_workers': workers}
    undo = stop_at(9)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seed=3, cfg_options=options)
    undo()
    runner = run(tmp_path, resume='auto', cfg_options=options)  # the seed comes from the file
    assert runner.epoch == 2 and runner.iter == 14
    assert_equal(weights(runner), whole[0])
    momenta = runner.optim_wrapper.state_dict()['state']
    for index, entry in whole[1]['state'].items():
        assert torch.equal(momenta[index]['momentum_buffer'], entry['momentum_buffer'])


@pytest.mark.parametrize('interval', [3, 7])  # in the middle, and at the very end, of an epoch
def test_resume_within_an_epoch_equals_the_whole_run(tmp_path, stop_at, whole, interval):
    options = {
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': interval,
    }
    undo = stop_at(11)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seed=3, cfg_options=options)
    undo()
    expected = tmp_path / f'iter_{9 if interval == 3 else 7}.pth'
    assert find_latest_valid(tmp_path) == expected
    runner = run(tmp_path, resume='auto', cfg_options=options)
    assert_equal(weights(runner), whole[0])


def test_training_does_not_depend_on_validation(tmp_path, whole):
    assert_equal(weights(run(tmp_path, seed=3, validate=False)), whole[0])
