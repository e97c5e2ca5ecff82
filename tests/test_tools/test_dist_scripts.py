"""The launch scripts: argument orders, and two processes on a CPU equal one."""

import multiprocessing
import os
import pickle
import shutil
import socket
import subprocess
import sys

import pytest
import torch

from mmdet import apis

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


def test_words_with_spaces_survive(words):
    _, out, _ = words(
        'dist_train.sh', 'c.py', '4', '--work-dir', 'my dir', '--cfg-options', 'a=b c'
    )
    assert '<my dir>' in out and '<a=b c>' in out and 'OMP=1' in out


def test_several_machines(words):
    place = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='1234')
    _, out, _ = words('dist_train.sh', 'c.py', '8', **place)
    for flag, value in (
        ('--nnodes', '2'),
        ('--node_rank', '1'),
        ('--master_addr', '10.0.0.1'),
        ('--master_port', '1234'),
    ):
        assert out[out.index(f'<{flag}>') + 1] == f'<{value}>'


@pytest.mark.parametrize(
    ('script', 'args'),
    [
        ('dist_train.sh', ['c.py']),
        ('dist_train.sh', ['c.py', 'eight']),
        ('dist_test.sh', ['c.py', '--checkpoint', 'f.pth']),
        ('slurm_train.sh', ['part', 'job', 'c.py']),
        ('slurm_test.sh', ['part', 'job', 'c.py']),
    ],
)
def test_wrong_arguments_show_the_usage(words, script, args):
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


def _train_as_rank(rank, port, toy, work_dir, options):
    torch.set_num_threads(1)  # a forked child has no pool of threads
    place = dict(
        RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_ADDR='127.0.0.1', MASTER_PORT=port
    )
    os.environ.update({key: str(value) for key, value in place.items()})
    apis.train(toy, work_dir=work_dir, device='cpu', launcher='pytorch', **options)


def train_with_two(toy, work_dir, **options):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    ranks = [
        context.Process(target=_train_as_rank, args=(rank, port, toy, str(work_dir), options))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return torch.load(work_dir / 'epoch_2.pth', weights_only=True)


@pytest.fixture(scope='module')
def toy(repo):
    return repo / 'tests/test_engine/toy_config.py'


@pytest.mark.dist
def test_two_processes_train_test_and_resume(repo, toy, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(toy.parent))
    whole = train_with_two(toy, tmp_path / 'whole', seed=3)
    assert whole['meta']['world_size'] == 2 and whole['meta']['iters_per_epoch'] == 4
    assert len(whole['rng']) == 2 and not next(iter(whole['state_dict'])).startswith('module.')

    (tmp_path / 'half').mkdir()
    shutil.copy(tmp_path / 'whole/epoch_1.pth', tmp_path / 'half')
    resumed = train_with_two(toy, tmp_path / 'half', resume='auto')
    for name, value in whole['state_dict'].items():
        assert torch.equal(resumed['state_dict'][name], value), name

    two, one = tmp_path / 'two.pkl', tmp_path / 'one.pkl'
    checkpoint = str(tmp_path / 'whole/epoch_2.pth')
    env = {
        **os.environ,
        'PYTHON': sys.executable,
        'PYTHONPATH': str(toy.parent),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
    }
    command = [str(repo / 'tools/dist_test.sh'), str(toy), '2', '--checkpoint', checkpoint]
    command += ['--out', str(two), '--eval', 'bbox', '--work-dir', str(tmp_path / 'two')]
    subprocess.run(command, env=env, check=True, timeout=300)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    apis.test(toy, checkpoint, out=str(one), work_dir=str(tmp_path / 'one'), device='cpu')
    torch.set_num_threads(threads)
    assert one.read_bytes() == two.read_bytes()
    assert len(pickle.loads(one.read_bytes())) == 12
