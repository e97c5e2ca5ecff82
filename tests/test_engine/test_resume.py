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
    """Weights and momenta after two uninterrupted epochs."""
    return state_of(train(tmp_path_factory.mktemp('whole')))


def state_of(runner) -> dict[str, torch.Tensor]:
    momenta = runner.optim_wrapper.state_dict()['state']
    return weights(runner) | {str(i): m['momentum_buffer'] for i, m in momenta.items()}


def every(interval: int) -> dict:
    return {**BY_ITERATION, 'default_hooks.checkpoint.interval': interval}


def stopped_and_resumed(work_dir, options=None, at=11):
    with interrupted_at(at), pytest.raises(KeyboardInterrupt):
        train(work_dir, options)
    return train(work_dir, options, resume='auto')  # the seed comes from the file


PERSISTENT = {'train_dataloader.persistent_workers': True}  # omitted where there are no workers


@pytest.mark.parametrize(
    ('options', 'at', 'source'),
    [
        ({'train_dataloader.num_workers': 2, **PERSISTENT}, 9, 'epoch_1.pth'),
        (every(3), 11, 'iter_9.pth'),  # in the middle of an epoch
        (every(7), 11, 'iter_7.pth'),  # at its very end
    ],
)
def test_a_resumed_run_equals_the_whole_one(tmp_path, whole, options, at, source):
    runner = stopped_and_resumed(tmp_path, options, at)
    assert runner.cfg.load_from == str(tmp_path / source)
    assert runner.epoch == 2 and runner.iter == 14
    assert_same(state_of(runner), whole)


def test_training_does_not_depend_on_validation(tmp_path, whole):
    assert_same(state_of(train(tmp_path, validate=False)), whole)


def _train_and_die(work_dir):
    torch.set_num_threads(1)  # a forked child has no pool of threads
    with interrupted_at(10, signal.SIGKILL):
        train(work_dir)


def test_a_killed_process_resumes(tmp_path, whole):
    child = multiprocessing.get_context('fork').Process(target=_train_and_die, args=(tmp_path,))
    child.start()
    child.join(600)  # the machine may be busy
    assert child.exitcode == -signal.SIGKILL
    assert_same(state_of(train(tmp_path, resume='auto')), whole)


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
    assert_same(state_of(train(tmp_path, resume='auto')), whole)


def test_resuming_by_name_takes_the_seed_of_the_file(tmp_path, saved, whole):
    save_checkpoint(saved, tmp_path / 'a.pth')
    runner = train(tmp_path / 'b', resume=str(tmp_path / 'a.pth'), seed=4)
    assert runner.seed == 3
    assert_same(state_of(runner), whole)
    save_checkpoint({'state_dict': saved['state_dict']}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'no meta and no optimizer.*load_from='):
        train(tmp_path, resume=str(tmp_path / 'w.pth'))


def test_auto_takes_the_newest_file_that_can_be_resumed_or_starts_anew(tmp_path, saved, whole):
    """Damaged and cut files are skipped, whatever their time."""
    assert_same(state_of(train(tmp_path / 'new', resume='auto', seed=3)), whole)
    save_checkpoint(saved, tmp_path / 'epoch_1.pth')
    later = changed(saved, 'meta.saved_at', saved['meta']['saved_at'] + 9)
    save_checkpoint(changed(later, 'rng', [None]), tmp_path / 'epoch_9.pth')
    (tmp_path / 'epoch_2.pth').write_bytes((tmp_path / 'epoch_1.pth').read_bytes()[:5000])
    runner = train(tmp_path, resume='auto')
    assert runner.cfg.load_from == str(tmp_path / 'epoch_1.pth')
    assert_same(state_of(runner), whole)


def test_another_number_of_clips_per_step_rescales_the_iteration(tmp_path):
    train(tmp_path, {**every(5), **ONE_EPOCH})
    (tmp_path / 'iter_7.pth').unlink()
    options = {**every(5), 'train_dataloader.batch_size': 4}  # an epoch is 4 iterations now
    assert train(tmp_path, options, resume='auto').iter == 8
    assert 'iteration 5 becomes 2' in log_of(tmp_path)  # int(5 * 4 / 7)


# -- wrong structure -------------------------------------------------------------------------------

ABSENT = object()
HUB = 'message_hub.runtime_info'
WRONG = {
    'meta': [ABSENT],
    'meta.epoch': [None, 10**9, -1, '1'],  # a position of 1e9 used to take for ever
    'meta.iters_per_epoch': [0],
    'meta.seed': [10**30],
    'state_dict': [{}, {'a': 1}],
    'state_dict.head.weight': [torch.ones(1), ABSENT],
    'optimizer': [None],
    'optimizer.state': [{0: {'momentum_buffer': torch.ones(7)}}],
    'optimizer.param_groups': [[{}]],
    'optimizer.param_groups.0.params': [[0]],
    HUB: [[1]],
    f'{HUB}.kept_checkpoints': [['../../important.txt']],
    f'{HUB}.best_score': ['high'],
    'rng': [[None]],
    'rng.0.torch': [torch.ones(3, dtype=torch.uint8)],
    'rng.0.python.words': [torch.full((625,), -1)],
    'rng.0.numpy.position': [10**6],
    'param_schedulers': [[None]],
}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A checkpoint after the first epoch."""
    folder = tmp_path_factory.mktemp('saved')
    train(folder, ONE_EPOCH)
    return load_checkpoint_file(folder / 'epoch_1.pth')


def changed(saved: dict, place: str, value: object) -> dict:
    node = copied = copy.deepcopy(saved)
    parts = place.split('.', 1 if place.startswith('state_dict') else -1)
    *parents, last = [int(part) if part.isdigit() else part for part in parts]
    for part in parents:
        node = node[part]
    node[last] = value
    if value is ABSENT:
        del node[last]
    return copied


@pytest.mark.parametrize('place', WRONG)
def test_a_wrong_structure_is_refused(tmp_path, saved, place):
    for value in WRONG[place]:
        save_checkpoint(changed(saved, place, value), tmp_path / 'epoch_1.pth')
        with pytest.raises(CheckpointError):
            train(tmp_path / 'work', resume=str(tmp_path / 'epoch_1.pth'))
        assert not list((tmp_path / 'work').glob('*.pth')), value


def test_only_files_of_this_run_are_deleted(tmp_path, saved):
    names = ['epoch_7.pth', 'epoch_8.pth', 'iter_3.pth', 'epoch_1.pth']
    work, elsewhere = tmp_path / 'work', tmp_path / 'elsewhere.pth'
    work.mkdir()
    foreign, stranger, link, own = (work / name for name in names)
    foreign.write_text('of somebody else')
    save_checkpoint(changed(saved, f'{HUB}.run_id', '0123456789abcdef'), stranger)
    save_checkpoint(changed(saved, f'{HUB}.kept_checkpoints', names), own)
    elsewhere.write_bytes(own.read_bytes())
    os.symlink(elsewhere, link)
    train(work, {'default_hooks.checkpoint.max_keep_ckpts': 1}, resume=str(own))
    assert foreign.read_text() == 'of somebody else'
    assert stranger.is_file() and link.is_symlink() and elsewhere.is_file()
    assert not own.exists() and (work / 'epoch_2.pth').is_file()
