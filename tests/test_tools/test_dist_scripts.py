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
for word in "$@"; do echo "<$word>"; done
"""


@pytest.fixture
def words(repo, tmp_path):
    """What a script starts: the words after the name of the Python script, and all of them."""
    stub = tmp_path / 'python'
    stub.write_text(STUB)
    stub.chmod(0o755)

    def start(script, *args, **env):
        clean = {k: v for k, v in os.environ.items() if k not in ('OMP_NUM_THREADS', 'PORT')}
        done = subprocess.run(
            [str(repo / 'tools' / script), *args],
            env={**clean, 'PYTHON': str(stub), **env},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout.split('\n'), done.stderr

    return start


@pytest.mark.parametrize(
    'args',
    [
        ['c.py', '2', '--checkpoint', 'a b.pth', '--eval', 'bbox'],
        ['c.py', 'a b.pth', '2', '--eval', 'bbox'],
    ],
)
def test_both_orders_of_dist_test(words, args):
    code, out, _ = words('dist_test.sh', *args)
    assert code == 0
    script = next(i for i, word in enumerate(out) if word.endswith('tools/test.py>'))
    assert out[script + 1 :] == [
        *('<c.py>', '<--launcher>', '<pytorch>', '<--checkpoint>', '<a b.pth>'),
        *('<--eval>', '<bbox>', ''),
    ]
    assert '<--nproc_per_node>' in out and out[out.index('<--nproc_per_node>') + 1] == '<2>'
    assert 'OMP=2' in out and '<--standalone>' in out


def test_several_machines_and_words_with_spaces(words):
    place = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='1234')
    arguments = ('c.py', '4', '--work-dir', 'my dir', '--cfg-options', 'a=b c')
    _, out, _ = words('dist_train.sh', *arguments, **place)
    assert '<my dir>' in out and '<a=b c>' in out and 'OMP=1' in out
    for flag, value in (
        ('nnodes', '2'),
        ('node_rank', '1'),
        ('master_addr', '10.0.0.1'),
        ('master_port', '1234'),
    ):
        assert out[out.index(f'<--{flag}>') + 1] == f'<{value}>'


@pytest.mark.parametrize(
    'command',
    [
        'dist_train.sh c.py',
        'dist_train.sh c.py eight',
        'dist_test.sh c.py --checkpoint f.pth',
        'slurm_train.sh part job c.py',
        'slurm_test.sh part job c.py',
    ],
)
def test_wrong_arguments_show_the_usage(words, command):
    script, *args = command.split()
    code, _, error = words(script, *args)
    assert code == 2 and f'{script} ' in error and 'usage' in error


def test_slurm_starts_one_task_per_gpu(words, tmp_path):
    (tmp_path / 'srun').write_text(STUB)
    (tmp_path / 'srun').chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    code, out, _ = words(
        *('slurm_test.sh', 'gpu', 'my job', 'c.py', 'f.pth', '--eval', 'bbox'),
        **dict(PATH=path, GPUS='4', SRUN_ARGS='--quotatype=auto --time=1'),
    )
    assert code == 0
    for word in ('<--gres=gpu:4>', '<--ntasks=4>', '<--job-name=my job>', '<--time=1>'):
        assert word in out
    assert out[-4:] == ['<bbox>', '<--launcher>', '<slurm>', '']


def _as_rank(rank, count, port, task, toy, options):
    torch.set_num_threads(1)  # a forked child has no pool of threads
    place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=count)
    place.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({key: str(value) for key, value in place.items()})
    task(toy, device='cpu', launcher='pytorch', **options)


def in_parallel(count, task, toy, exit_code=0, **options):
    """Run `task(toy, **options)` in `count` forked processes, which saves the imports."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    ranks = [
        context.Process(target=_as_rank, args=(rank, count, port, task, toy, options))
        for rank in range(count)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [exit_code] * count


@pytest.fixture(scope='module')
def toy(repo):
    path = repo / 'tests/test_engine/toy_config.py'
    sys.path.insert(0, str(path.parent))
    yield path
    sys.path.remove(str(path.parent))


@pytest.fixture(scope='module')
def whole(toy, tmp_path_factory):
    """Checkpoints of two processes after one and after two epochs."""
    work_dir = tmp_path_factory.mktemp('whole')
    in_parallel(2, apis.train, toy, work_dir=str(work_dir), seed=3)
    return work_dir


@pytest.fixture(scope='module')
def results(toy, whole, tmp_path_factory):
    """The results file of one process with one thread."""
    folder = tmp_path_factory.mktemp('one')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    checkpoint, out = str(whole / 'epoch_2.pth'), str(folder / 'r.pkl')
    apis.test(toy, checkpoint, out=out, work_dir=str(folder), device='cpu')
    torch.set_num_threads(threads)
    assert len(pickle.loads((folder / 'r.pkl').read_bytes())) == 12
    return (folder / 'r.pkl').read_bytes()


@pytest.mark.dist
def test_two_processes_resume_to_the_same_weights(toy, whole, tmp_path):
    expected = torch.load(whole / 'epoch_2.pth', weights_only=True)
    assert expected['meta']['world_size'] == 2 and expected['meta']['iters_per_epoch'] == 4
    assert len(expected['rng']) == 2
    assert not any(name.startswith('module.') for name in expected['state_dict'])
    shutil.copy(whole / 'epoch_1.pth', tmp_path)
    in_parallel(2, apis.train, toy, work_dir=str(tmp_path), resume='auto')
    assert_same_weights(tmp_path, whole)


def assert_same_weights(folder, other):
    loaded = [torch.load(x / 'epoch_2.pth', weights_only=True) for x in (folder, other)]
    ours, theirs = (checkpoint['state_dict'] for checkpoint in loaded)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _train_and_signal(toy, **options):
    """Rank 1 alone gets a SIGTERM in iteration 3, counted from 1."""
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        if self.iter == 2 and self.runner.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, index, batch)

    VideoTrainLoop.run_iter = run_iter
    apis.train(toy, **options)


@pytest.mark.dist
def test_a_signal_to_one_rank_stops_and_saves_all(toy, whole, tmp_path):
    code = 128 + signal.SIGTERM
    in_parallel(2, _train_and_signal, toy, code, work_dir=str(tmp_path), seed=3)
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['iter_3.pth', 'latest.pth']
    in_parallel(2, apis.train, toy, work_dir=str(tmp_path), resume='auto')
    assert_same_weights(tmp_path, whole)


def _train_and_note(toy, work_dir, **options):
    """Writes the losses of this rank's iterations beside the log."""
    losses = []
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        train_step = self.runner.model.train_step

        def noting(batch, optim_wrapper):
            losses.append(train_step(batch, optim_wrapper))
            return losses[-1]

        self.runner.model.train_step = noting
        original(self, index, batch)
        self.runner.model.train_step = train_step

    VideoTrainLoop.run_iter = run_iter
    apis.train(toy, work_dir=work_dir, **options)
    values = [float(step['loss'].detach()) for step in losses]
    Path(work_dir, f'rank_{os.environ["RANK"]}.json').write_text(json.dumps(values))


@pytest.mark.dist
def test_the_logged_loss_is_the_mean_over_ranks(toy, tmp_path):
    in_parallel(2, _train_and_note, toy, work_dir=str(tmp_path), seed=3, validate=False)
    ranks = np.array([json.loads((tmp_path / f'rank_{r}.json').read_text()) for r in (0, 1)])
    assert ranks.shape == (2, 8) and (abs(ranks[0] - ranks[1]) > 1e-3).all()
    lines = [json.loads(line) for line in next(tmp_path.rglob('scalars.json')).open()]
    assert [line['step'] for line in lines] == [1, 4, 8]
    for line in lines:
        assert line['loss'] == pytest.approx(ranks[:, : line['step']].mean(), rel=1e-6)


@pytest.mark.dist
def test_a_loss_that_is_not_finite_on_one_rank_stops_both(toy, tmp_path):
    """Each says so itself, instead of waiting for the other until the timeout."""
    in_parallel(2, _train_with_a_bad_rank, toy, work_dir=str(tmp_path), seed=3)
    texts = [(tmp_path / f'error_{rank}.txt').read_text() for rank in (0, 1)]
    assert 'another process is not finite at iteration 3 (epoch 1)' in texts[0]
    assert 'The loss is not finite at iteration 3 (epoch 1): loss nan' in texts[1]
    assert not list(tmp_path.glob('*.pth'))


def _train_with_a_bad_rank(toy, work_dir, **options):
    if os.environ['RANK'] == '1':
        options['cfg_options'] = {'model.explode_at': 3}
    try:
        apis.train(toy, work_dir=work_dir, **options)
    except NonFiniteLossError as error:
        Path(work_dir, f'error_{os.environ["RANK"]}.txt').write_text(str(error))


@pytest.mark.dist
def test_one_process_resumes_what_two_began(toy, whole, tmp_path):
    shutil.copy(whole / 'epoch_1.pth', tmp_path)
    runner = apis.train(toy, work_dir=str(tmp_path), resume='auto', device='cpu')
    assert runner.epoch == 2 and runner.iter == 14
    log = next(tmp_path.rglob('*.log')).read_text()
    assert 'iteration 4 becomes 7' in log and 'random states of 2 process(es)' in log


@pytest.mark.dist
def test_dist_test_equals_one_process_bit_for_bit(repo, toy, whole, results, tmp_path):
    out = tmp_path / 'two.pkl'
    env = {
        **os.environ,
        'PYTHON': sys.executable,
        'PYTHONPATH': str(toy.parent),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
    }
    command = [repo / 'tools/dist_test.sh', toy, whole / 'epoch_2.pth', '2', '--out', out]
    command += ['--eval', 'bbox', '--work-dir', tmp_path]
    subprocess.run(list(map(str, command)), env=env, check=True, timeout=300)
    assert out.read_bytes() == results


@pytest.mark.dist
def test_more_processes_than_videos(toy, whole, results, tmp_path):
    out = tmp_path / 'five.pkl'
    options = dict(checkpoint=str(whole / 'epoch_2.pth'), out=str(out), work_dir=str(tmp_path))
    in_parallel(5, apis.test, toy, **options)
    assert out.read_bytes() == results
