"""A run that was stopped and resumed equals one that was not."""

import multiprocessing
import os
import signal
from pathlib import Path

import engine_toy  # noqa: F401
import pytest
import torch

from mmdet.apis import train
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import find_latest_valid, save_checkpoint
from mmdet.engine.loops import TrainingInterrupted, VideoTrainLoop
from mmdet.registry import MODELS

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
    options = {
        'train_dataloader.num_workers': workers,
        'train_dataloader.persistent_workers': True,  # left away where there are no workers
    }
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


def test_resume_with_parameter_groups_and_schedules_by_iteration(tmp_path, stop_at):
    options = {
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': 5,
        'optim_wrapper.optimizer': dict(
            _delete_=True, type='AdamW', lr=0.01, betas=(0.9, 0.99), weight_decay=0.1
        ),
        'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(bn1=dict(decay_mult=0.0))),
        'param_scheduler': [
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=8),
            dict(type='CosineAnnealingLR', by_epoch=False, T_max=14, begin=2, end=14),
            dict(type='CosineAnnealingMomentum', by_epoch=False, T_max=14, eta_min=0.5),
        ],
    }
    expected = run(tmp_path / 'whole', seed=3, cfg_options=options)
    undo = stop_at(11)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seed=3, cfg_options=options)
    undo()
    runner = run(tmp_path, resume='auto', cfg_options=options)
    assert_equal(weights(runner), weights(expected))
    assert runner.optim_wrapper.get_lr() == expected.optim_wrapper.get_lr()


def test_training_does_not_depend_on_validation(tmp_path, whole):
    assert_equal(weights(run(tmp_path, seed=3, validate=False)), whole[0])


def _train_and_die(work_dir, iteration):
    torch.set_num_threads(1)  # a forked child has no pool of threads
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        if self.iter == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, index, batch)

    VideoTrainLoop.run_iter = run_iter
    run(work_dir, seed=3)


def test_a_killed_process_resumes(tmp_path, whole):
    child = multiprocessing.get_context('fork').Process(target=_train_and_die, args=(tmp_path, 10))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert_equal(weights(run(tmp_path, resume='auto')), whole[0])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_the_iteration(tmp_path, whole, monkeypatch, number):
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        if self.iter == 4:
            os.kill(os.getpid(), number)
        original(self, index, batch)

    monkeypatch.setattr(VideoTrainLoop, 'run_iter', run_iter)
    handler = signal.getsignal(number)
    with pytest.raises(TrainingInterrupted) as caught:
        run(tmp_path, seed=3)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is handler
    assert find_latest_valid(tmp_path) == tmp_path / 'iter_5.pth'
    log = next(tmp_path.rglob('*.log')).read_text()
    assert f'Stopped by {number.name} at iteration 5' in log and '--resume auto' in log
    monkeypatch.setattr(VideoTrainLoop, 'run_iter', original)
    assert_equal(weights(run(tmp_path, resume='auto')), whole[0])


def test_a_truncated_newest_checkpoint_is_skipped(tmp_path, whole):
    run(tmp_path, seed=3, cfg_options={'train_cfg.max_epochs': 1})
    (tmp_path / 'epoch_2.pth').write_bytes((tmp_path / 'epoch_1.pth').read_bytes()[:5000])
    assert_equal(weights(run(tmp_path, resume='auto')), whole[0])


def test_auto_starts_anew_where_there_is_nothing(tmp_path, whole):
    assert_equal(weights(run(tmp_path, resume='auto', seed=3)), whole[0])


def test_resuming_by_name_takes_the_seed_of_the_file(tmp_path, whole):
    run(tmp_path / 'a', seed=3, cfg_options={'train_cfg.max_epochs': 1})
    runner = run(tmp_path / 'b', resume=str(tmp_path / 'a/epoch_1.pth'), seed=4)
    assert runner.seed == 3
    assert_equal(weights(runner), whole[0])


def test_another_number_of_clips_per_step_rescales_the_iteration(tmp_path):
    options = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 5}
    first = run(tmp_path, seed=3, cfg_options={**options, 'train_cfg.max_epochs': 1})
    assert len(first.train_dataloader) == 7
    (tmp_path / 'iter_7.pth').unlink()
    options['train_dataloader.batch_size'] = 4  # an epoch is 4 iterations now
    runner = run(tmp_path, resume='auto', cfg_options=options)
    assert len(runner.train_dataloader) == 4
    log = max(tmp_path.rglob('*.log')).read_text()
    assert 'iteration 5 becomes 2' in log  # int(5 * 4 / 7)
    assert runner.iter == 8


def test_weights_alone_cannot_be_resumed(tmp_path):
    save_checkpoint(
        {'state_dict': MODELS.build(dict(type='ToyDetector')).state_dict()}, tmp_path / 'w.pth'
    )
    with pytest.raises(CheckpointError, match=r'no meta and no optimizer.*load_from='):
        run(tmp_path, resume=str(tmp_path / 'w.pth'))
