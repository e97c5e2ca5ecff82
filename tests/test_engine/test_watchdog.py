"""A rank that stops, dies or fails is named by the others, long before the process group ends."""

import multiprocessing
import os
import re
import signal
import socket
import sys
import time
from unittest import mock

import pytest
import torch
from engine_toy import ToyDetector
from mmengine.evaluator import Evaluator
from toy_runs import CONFIG

from mmdet import apis
from mmdet.apis.common import plain_errors
from mmdet.core.errors import ConfigError
from mmdet.engine.loops import VideoTestLoop, VideoTrainLoop

pytestmark = [pytest.mark.dist, pytest.mark.slow]

SILENCE_S = 8
STAGES = {  # what is called there, and the call in which the misfortune happens
    'training': (VideoTrainLoop, 'run_iter', 3),
    'testing': (VideoTestLoop, '_finish', 3),
    'evaluation': (Evaluator, 'evaluate', 1),
}


def misfortune(what: str) -> None:
    if what == 'fail':
        raise ConfigError('the reason')
    if what == 'slow':
        time.sleep(2.5 * SILENCE_S)
    else:
        os.kill(os.getpid(), signal.SIGSTOP if what == 'stop' else signal.SIGKILL)


def rank_of_two(rank: int, port: int, stage: str, victim: bool, what: str, folder) -> None:
    torch.set_num_threads(1)
    sys.stderr = open(folder / f'{rank}.txt', 'w')
    os.dup2(sys.stderr.fileno(), 2)
    names = dict(RANK=rank, WORLD_SIZE=2, LOCAL_RANK=rank, MASTER_PORT=port)
    os.environ.update({k: str(v) for k, v in names.items()}, MASTER_ADDR='127.0.0.1')
    if victim:
        owner, name, calls = STAGES[stage]
        original, left = getattr(owner, name), iter(range(calls - 1, -1, -1))

        def method(self, *args):
            if next(left, -1) == 0:
                misfortune(what)
            return original(self, *args)

        mock.patch.object(owner, name, method).start()
    silence = {'env_cfg.dist_cfg': dict(backend='gloo', silence=SILENCE_S)}
    options = dict(cfg_options=silence, launcher='pytorch', device='cpu', work_dir=str(folder))
    with plain_errors():
        if stage == 'training':
            apis.train(CONFIG, seed=3, **options)
        else:
            apis.test(CONFIG, str(folder / 'weights.pth'), **options)


@pytest.fixture
def pair(tmp_path):
    """Runs two ranks, one of which has a misfortune; its process, the other's, what that said."""
    ranks: list = []

    def run(stage: str, victim: int, what: str):
        torch.save(ToyDetector().state_dict(), tmp_path / 'weights.pth')
        with socket.create_server(('127.0.0.1', 0)) as free:
            port = free.getsockname()[1]
        for rank in (0, 1):
            args = (rank, port, stage, rank == victim, what, tmp_path)
            process = multiprocessing.get_context('fork').Process(target=rank_of_two, args=args)
            process.start()
            ranks.append(process)
        ranks[1 - victim].join(200)
        return ranks[victim], ranks[1 - victim], (tmp_path / f'{1 - victim}.txt').read_text()

    yield run
    for process in ranks:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    ('stage', 'victim', 'what'),
    [
        *(('training', 1, 'stop'), ('training', 0, 'stop'), ('testing', 1, 'stop')),
        *(('evaluation', 0, 'stop'), ('training', 1, 'die'), ('testing', 0, 'die')),
        ('evaluation', 1, 'fail'),
    ],
)
def test_the_missing_rank_is_named(pair, stage, victim, what):
    missing, other, said = pair(stage, victim, what)
    assert other.exitcode == 1, said
    # one that fails may take longer than that to end on a busy machine
    reason = f'was silent for {SILENCE_S} s'
    reason = reason if what == 'stop' else f'(has ended|{reason})'
    host = re.escape(socket.gethostname())
    name = rf'rank {victim} on {host} \(process {missing.pid}\)'
    assert re.search(f'error: {name} {reason}', said), said
    assert 'Traceback' not in said


def test_a_rank_that_is_slow_is_none_that_stopped(pair):
    slow, other, said = pair('training', 1, 'slow')
    slow.join(100)
    assert (slow.exitcode, other.exitcode) == (0, 0), said
