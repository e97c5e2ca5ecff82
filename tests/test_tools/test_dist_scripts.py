"""The launch scripts: argument orders, and two processes on a CPU equal one."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdet import apis
from mmdet.core.errors import NonFiniteLossError
from mmdet.engine.loops import VideoTrainLoop

STUB = """#!/usr/bin/env bash
if [[ $1 == -c ]]; then echo 4; exit; fi
echo "OMP=$OMP_NUM_THREADS"
for word in "$@"; do echo "$word"; done
"""


@pytest.fixture
def start(repo, tmp_path):
    """Runs a script where Python and srun print their words: status, these words, errors."""

    def start(script, *args, **env):
        for name in ('python', 'srun'):
            (tmp_path / name).write_text(STUB)
            (tmp_path / name).chmod(0o755)
        clean = {k: v for k, v in os.environ.items() if k not in ('OMP_NUM_THREADS', 'PORT')}
        path = f'{tmp_path}:{os.environ["PATH"]}'
        env = {**clean, 'PATH': path, 'PYTHON': str(tmp_path / 'python'), **env}
        command = [str(repo / 'tools' / script), *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines(), done.stderr

    return start


def test_launch_scripts_take_words_in_their_orders(start):
    for words in (('2', '--checkpoint', 'a b.pth'), ('a b.pth', '2')):
        code, out, _ = start('dist_test.sh', 'c.py', *words, '--eval', 'bbox')
        expected = 'c.py,--launcher,pytorch,--checkpoint,a b.pth,--eval,bbox'.split(',')
        assert code == 0 and out[-len(expected) :] == expected
        assert out[out.index('--nproc_per_node') + 1] == '2' and 'OMP=2' in out
    code, _, error = start('dist_train.sh', 'c.py')
    assert code == 2 and 'dist_train.sh ' in error and 'usage' in error
    _, out, _ = start('dist_train.sh', 'c.py', '4', '--cfg-options', 'a=b c', NNODES='2', PORT='12')
    assert 'a=b c' in out and 'OMP=1' in out and out[out.index('--nnodes') + 1] == '2'
    words = ('gpu', 'my job', 'c.py', 'f.pth', '--eval', 'bbox')
    code, out, _ = start('slurm_test.sh', *words, GPUS='4', SRUN_ARGS='--quotatype=auto --time=1')
    assert code == 0 and out[-3:] == ['bbox', '--launcher', 'slurm']
    assert {'--gres=gpu:4', '--ntasks=4', '--job-name=my job', '--time=1'} <= set(out)


# --- processes -----------------------------------------------------------------------------------


def in_parallel(count, task, exit_code=0, **options):
    """Run `task(**options)` in `count` forked processes, which saves the imports."""

    def as_rank(rank):
        torch.set_num_threads(1)  # a forked child has no pool of threads
        place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=count, MASTER_PORT=port)
        os.environ.update({key: str(value) for key, value in place.items()})
        task(device='cpu', launcher='pytorch', **options)

    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    ranks = [context.Process(target=as_rank, args=(rank,)) for rank in range(count)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [exit_code] * count


@pytest.fixture(scope='module')
def whole(toy, tmp_path_factory):
    """Checkpoints of two processes after one and after two epochs."""
    work_dir = tmp_path_factory.mktemp('whole')
    in_parallel(2, apis.train, config=toy, work_dir=str(work_dir), seed=3)
    return work_dir


def assert_same_weights(folder, other):
    loaded = [torch.load(x / 'epoch_2.pth', weights_only=True) for x in (folder, other)]
    ours, theirs = (checkpoint['state_dict'] for checkpoint in loaded)
    assert ours.keys() == theirs.keys() and not any(name.startswith('module.') for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.dist
def test_two_processes_resume_to_the_same_weights(toy, whole, tmp_path):
    expected = torch.load(whole / 'epoch_2.pth', weights_only=True)
    assert expected['meta']['world_size'] == 2 and expected['meta']['iters_per_epoch'] == 4
    assert len(expected['rng']) == 2
    shutil.copy(whole / 'epoch_1.pth', tmp_path)
    in_parallel(2, apis.train, config=toy, work_dir=str(tmp_path), resume='auto')
    assert_same_weights(tmp_path, whole)


def _train_and_signal(**options):
    """Rank 1 alone gets a SIGTERM in iteration 3, counted from 1."""
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        if self.iter == 2 and self.runner.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, index, batch)

    VideoTrainLoop.run_iter = run_iter
    apis.train(**options)


@pytest.mark.dist
def test_a_signal_to_one_rank_stops_and_saves_all(toy, whole, tmp_path):
    code, options = 128 + signal.SIGTERM, dict(config=toy, work_dir=str(tmp_path))
    in_parallel(2, _train_and_signal, code, **options, seed=3)
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['iter_3.pth', 'latest.pth']
    in_parallel(2, apis.train, **options, resume='auto')
    assert_same_weights(tmp_path, whole)


def _train_and_note(work_dir, **options):
    """Writes the losses of this rank's iterations beside the log."""
    losses, original = [], VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        train_step = self.runner.model.train_step
        self.runner.model.train_step = lambda *args, **kwargs: (
            losses.append(train_step(*args, **kwargs)) or losses[-1]
        )
        original(self, index, batch)
        self.runner.model.train_step = train_step

    VideoTrainLoop.run_iter = run_iter
    apis.train(work_dir=work_dir, **options)
    values = [float(step['loss'].detach()) for step in losses]
    Path(work_dir, f'rank_{os.environ["RANK"]}.json').write_text(json.dumps(values))


@pytest.mark.dist
def test_the_logged_loss_is_the_mean_over_ranks(toy, tmp_path):
    options = dict(config=toy, work_dir=str(tmp_path), seed=3, validate=False)
    in_parallel(2, _train_and_note, **options)
    ranks = np.array([json.loads((tmp_path / f'rank_{r}.json').read_text()) for r in (0, 1)])
    assert ranks.shape == (2, 8) and (abs(ranks[0] - ranks[1]) > 1e-3).all()
    lines = [json.loads(line) for line in next(tmp_path.rglob('scalars.json')).open()]
    assert [line['step'] for line in lines] == [1, 4, 8]
    for line in lines:
        assert line['loss'] == pytest.approx(ranks[:, : line['step']].mean(), rel=1e-6)


def _train_with_a_bad_rank(work_dir, **options):
    if os.environ['RANK'] == '1':
        options['cfg_options'] = {'model.explode_at': 3}
    try:
        apis.train(work_dir=work_dir, **options)
    except NonFiniteLossError as error:
        Path(work_dir, f'error_{os.environ["RANK"]}.txt').write_text(str(error))


@pytest.mark.dist
def test_a_loss_that_is_not_finite_on_one_rank_stops_both(toy, tmp_path):
    """Each says so itself, instead of waiting for the other until the timeout."""
    in_parallel(2, _train_with_a_bad_rank, config=toy, work_dir=str(tmp_path), seed=3)
    texts = [(tmp_path / f'error_{rank}.txt').read_text() for rank in (0, 1)]
    assert 'another process is not finite at iteration 3 (epoch 1)' in texts[0]
    assert 'The loss is not finite at iteration 3 (epoch 1): loss nan' in texts[1]
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.dist
def test_dist_test_equals_one_process_bit_for_bit(repo, toy, whole, tmp_path):
    checkpoint, one = str(whole / 'epoch_2.pth'), tmp_path / 'one.pkl'
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    apis.test(toy, checkpoint, out=str(one), work_dir=str(tmp_path), device='cpu')
    torch.set_num_threads(threads)
    assert len(pickle.loads(one.read_bytes())) == 12
    place = dict(PYTHON=sys.executable, PYTHONPATH=str(toy.parent))
    env = {**os.environ, **place, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    command = [repo / 'tools/dist_test.sh', toy, checkpoint, '2', '--eval', 'bbox']
    command += ['--out', tmp_path / 'two.pkl', '--work-dir', tmp_path]
    subprocess.run(list(map(str, command)), env=env, check=True, timeout=300)
    assert (tmp_path / 'two.pkl').read_bytes() == one.read_bytes()
