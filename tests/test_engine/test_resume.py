"""A run that was stopped and resumed equals one that was not; what cannot be resumed is refused in
one sentence before anything is used, and deletes no file."""

import copy
import multiprocessing
import os
import signal

import pytest
import torch
from toy_runs import BY_ITERATION, ONE_EPOCH, assert_same, interrupted_at, log_of, train, weights

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import find_latest_valid, save_checkpoint
from mmdet.engine.loops import TrainingInterrupted


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Weights and optimizer after two uninterrupted epochs."""
    runner = train(tmp_path_factory.mktemp('whole'))
    return weights(runner), runner.optim_wrapper.state_dict()


@pytest.mark.parametrize('workers', [0, 2])
def test_resume_after_an_epoch_equals_the_whole_run(tmp_path, whole, workers):
    options = {
        'train_dataloader.num_workers': workers,
        'train_dataloader.persistent_workers': True,  # left away where there are no workers
    }
    with interrupted_at(9), pytest.raises(KeyboardInterrupt):
        train(tmp_path, options)
    runner = train(tmp_path, options, resume='auto')  # the seed comes from the file
    assert runner.epoch == 2 and runner.iter == 14
    assert_same(runner, whole[0])
    momenta = runner.optim_wrapper.state_dict()['state']
    for index, entry in whole[1]['state'].items():
        assert torch.equal(momenta[index]['momentum_buffer'], entry['momentum_buffer'])


@pytest.mark.parametrize('interval', [3, 7])  # in the middle, and at the very end, of an epoch
def test_resume_within_an_epoch_equals_the_whole_run(tmp_path, whole, interval):
    options = {**BY_ITERATION, 'default_hooks.checkpoint.interval': interval}
    with interrupted_at(11), pytest.raises(KeyboardInterrupt):
        train(tmp_path, options)
    assert find_latest_valid(tmp_path).name == f'iter_{9 if interval == 3 else 7}.pth'
    assert_same(train(tmp_path, options, resume='auto'), whole[0])


def test_resume_with_parameter_groups_and_schedules_by_iteration(tmp_path):
    options = {
        **BY_ITERATION,
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
    expected = train(tmp_path / 'whole', options)
    with interrupted_at(11), pytest.raises(KeyboardInterrupt):
        train(tmp_path, options)
    runner = train(tmp_path, options, resume='auto')
    assert_same(runner, expected)
    assert runner.optim_wrapper.get_lr() == expected.optim_wrapper.get_lr()


def test_training_does_not_depend_on_validation(tmp_path, whole):
    assert_same(train(tmp_path, validate=False), whole[0])


def _train_and_die(work_dir):
    torch.set_num_threads(1)  # a forked child has no pool of threads
    with interrupted_at(10, signal.SIGKILL):
        train(work_dir)


def test_a_killed_process_resumes(tmp_path, whole):
    child = multiprocessing.get_context('fork').Process(target=_train_and_die, args=(tmp_path,))
    child.start()
    child.join(600)  # the machine may be busy
    assert child.exitcode == -signal.SIGKILL
    assert_same(train(tmp_path, resume='auto'), whole[0])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_the_iteration(tmp_path, whole, number):
    handler = signal.getsignal(number)
    with interrupted_at(4, number), pytest.raises(TrainingInterrupted) as caught:
        train(tmp_path)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is handler
    assert find_latest_valid(tmp_path) == tmp_path / 'iter_5.pth'
    log = log_of(tmp_path)
    assert f'Stopped by {number.name} at iteration 5' in log and '--resume auto' in log
    assert_same(train(tmp_path, resume='auto'), whole[0])


def test_auto_takes_the_newest_whole_file_or_starts_anew(tmp_path, whole):
    assert_same(train(tmp_path / 'new', resume='auto', seed=3), whole[0])
    train(tmp_path, ONE_EPOCH)
    (tmp_path / 'epoch_2.pth').write_bytes((tmp_path / 'epoch_1.pth').read_bytes()[:5000])
    assert_same(train(tmp_path, resume='auto'), whole[0])


def test_resuming_by_name_takes_the_seed_of_the_file(tmp_path, whole):
    train(tmp_path / 'a', ONE_EPOCH)
    runner = train(tmp_path / 'b', resume=str(tmp_path / 'a/epoch_1.pth'), seed=4)
    assert runner.seed == 3
    assert_same(runner, whole[0])


def test_another_number_of_clips_per_step_rescales_the_iteration(tmp_path):
    options = {**BY_ITERATION, 'default_hooks.checkpoint.interval': 5}
    assert len(train(tmp_path, {**options, **ONE_EPOCH}).train_dataloader) == 7
    (tmp_path / 'iter_7.pth').unlink()
    options['train_dataloader.batch_size'] = 4  # an epoch is 4 iterations now
    runner = train(tmp_path, options, resume='auto')
    assert len(runner.train_dataloader) == 4 and runner.iter == 8
    assert 'iteration 5 becomes 2' in log_of(tmp_path)  # int(5 * 4 / 7)


# -- wrong structure -------------------------------------------------------------------------------

ABSENT = object()
WRONG = {
    'meta': [None, [], 3, {}, ABSENT, 'epoch'],
    'meta.epoch': [None, 10**9, -1, 1.5, '1', ABSENT, True, 10**30],
    'meta.iter': [None, 10**9, -5, [6]],
    'meta.iters_per_epoch': [0, 'six', 10**9],
    'meta.seed': ['x', 1.5, 10**30],
    'meta.saved_at': [[]],
    'state_dict': [None, [], {}, {'a': 1}],
    'state_dict.head.weight': [torch.ones(1), ABSENT],
    'optimizer': [None, [], ABSENT, {}],
    'optimizer.state': [
        *(None, [], {0: None}),
        *({key: {'momentum_buffer': torch.ones(7)}} for key in (0, 99, 'x')),
    ],
    'optimizer.param_groups': [None, [], [None], [{}]],
    'optimizer.param_groups.0.params': [[0], None],
    'message_hub': [[], None],
    'message_hub.runtime_info': [[1]],
    'message_hub.runtime_info.kept_checkpoints': [
        *('epoch_1.pth', [None], ['../../important.txt'], ['/etc/hostname']),
    ],
    'message_hub.runtime_info.best_score': ['high'],
    'message_hub.runtime_info.run_id': [7],
    'rng': [[None], 3, [{}]],
    'rng.0.torch': [None, torch.ones(3), torch.ones(3, dtype=torch.uint8)],
    'rng.0.python': [[]],
    'rng.0.python.words': [torch.ones(3, dtype=torch.int64), torch.full((625,), -1)],
    'rng.0.python.version': [99],
    'rng.0.python.gauss': ['x'],
    'rng.0.numpy': [ABSENT],
    'rng.0.numpy.words': [None],
    'rng.0.numpy.position': [10**6],
    'param_schedulers': [3, [None]],
}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A checkpoint after the first epoch."""
    folder = tmp_path_factory.mktemp('saved')
    train(folder, ONE_EPOCH)
    return load_checkpoint_file(folder / 'epoch_1.pth')


def changed(saved: dict, place: str, value: object) -> dict:
    copied = copy.deepcopy(saved)
    node = copied
    parts = place.split('.', 1 if place.startswith('state_dict') else -1)
    *parents, last = [int(part) if part.isdigit() else part for part in parts]
    for part in parents:
        node = node[part]
    if value is ABSENT:
        del node[last]
    else:
        node[last] = value
    return copied


@pytest.mark.parametrize('place', WRONG)
def test_a_wrong_structure_is_refused(tmp_path, saved, place):
    """A position of 1e9 used to take for ever."""
    for value in WRONG[place]:
        save_checkpoint(changed(saved, place, value), tmp_path / 'epoch_1.pth')
        with pytest.raises(CheckpointError):
            train(tmp_path / 'work', resume=str(tmp_path / 'epoch_1.pth'))
        assert not list((tmp_path / 'work').glob('*.pth')), value


def test_weights_alone_cannot_be_resumed(tmp_path, saved):
    save_checkpoint({'state_dict': saved['state_dict']}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'no meta and no optimizer.*load_from='):
        train(tmp_path, resume=str(tmp_path / 'w.pth'))


def test_auto_skips_what_cannot_be_resumed(tmp_path, saved):
    save_checkpoint(saved, tmp_path / 'epoch_1.pth')
    later = changed(saved, 'meta.saved_at', saved['meta']['saved_at'] + 9)
    save_checkpoint(changed(later, 'rng', [None]), tmp_path / 'epoch_9.pth')
    runner = train(tmp_path, resume='auto')
    assert runner.epoch == 2 and runner.cfg.load_from == str(tmp_path / 'epoch_1.pth')


def test_only_files_of_this_run_are_deleted(tmp_path, saved):
    kept = ['epoch_7.pth', 'epoch_8.pth', 'iter_3.pth', 'epoch_1.pth']
    mine = changed(saved, 'message_hub.runtime_info.kept_checkpoints', kept)
    work = tmp_path / 'work'
    work.mkdir()
    save_checkpoint(mine, work / 'epoch_1.pth')
    (work / 'epoch_7.pth').write_text('of somebody else')
    stranger = changed(saved, 'message_hub.runtime_info.run_id', '0123456789abcdef')
    save_checkpoint(stranger, work / 'epoch_8.pth')
    (tmp_path / 'elsewhere.pth').write_bytes((work / 'epoch_1.pth').read_bytes())
    os.symlink(tmp_path / 'elsewhere.pth', work / 'iter_3.pth')
    options = {'default_hooks.checkpoint.max_keep_ckpts': 1}
    train(work, options, resume=str(work / 'epoch_1.pth'))
    assert (work / 'epoch_7.pth').read_text() == 'of somebody else'
    assert (work / 'epoch_8.pth').is_file() and (work / 'iter_3.pth').is_symlink()
    assert (tmp_path / 'elsewhere.pth').is_file()
    assert not (work / 'epoch_1.pth').exists() and (work / 'epoch_2.pth').is_file()
