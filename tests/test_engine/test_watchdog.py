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


def fail() -> None:
    raise ConfigError('the reason')


MISFORTUNES = {  # where it happens (the name of a method, and in which call of it), and what it is
    'stop': ((VideoTrainLoop, 'run_iter', 3), lambda: os.kill(os.getpid(), signal.SIGSTOP)),
    'die': ((VideoTestLoop, '_finish', 3), lambda: os.kill(os.getpid(), signal.SIGKILL)),
    'fail': ((Evaluator, 'evaluate', 1), fail),
    'slow': ((VideoTrainLoop, 'run_iter', 3), lambda: time.sleep(1.5 * SILENCE_S)),
}


def rank_of_two(rank: int, port: int, victim: int, what: str, folder) -> None:
    torch.set_num_threads(1)
    sys.stderr = open(folder / f'{rank}.txt', 'w')
    os.dup2(sys.stderr.fileno(), 2)
    names = dict(RANK=rank, WORLD_SIZE=2, LOCAL_RANK=rank, MASTER_PORT=port)
    os.environ.update({k: str(v) for k, v in names.items()}, MASTER_ADDR='127.0.0.1')
    (owner, name, calls), misfortune = MISFORTUNES[what]
    if rank == victim:
        original, left = getattr(owner, name), iter(range(calls - 1, -1, -1))

        def method(self, *args):
            if next(left, -1) == 0:
                misfortune()
            return original(self, *args)

        mock.patch.object(owner, name, method).start()
    silence = {'env_cfg.dist_cfg': dict(backend='gloo', silence=SILENCE_S)}
    options = dict(cfg_options=silence, launcher='pytorch', device='cpu', work_dir=str(folder))
    with plain_errors():
        if owner is VideoTrainLoop:
            apis.train(CONFIG, seed=3, **options)
        else:
            apis.test(CONFIG, str(folder / 'weights.pth'), **options)


@pytest.mark.parametrize(('what', 'victim'), [('stop', 0), ('die', 1), ('fail', 1), ('slow', 1)])
def test_the_missing_rank_is_named_and_one_that_is_slow_is_none(tmp_path, what, victim):
    torch.save(ToyDetector().state_dict(), tmp_path / 'weights.pth')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    ranks = [
        context.Process(target=rank_of_two, args=(rank, port, victim, what, tmp_path))
        for rank in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    ranks[1 - victim].join(200)
    if what == 'slow':
        ranks[victim].join(100)
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
        rank.join()
    said = (tmp_path / f'{1 - victim}.txt').read_text()
    if what == 'slow':
        assert codes == [0, 0], said
        return
    assert codes[1 - victim] == 1, said
    # one that fails may take longer than that to end on a busy machine
    reason = f'was silent for {SILENCE_S} s'
    reason = reason if what == 'stop' else f'(has ended|{reason})'
    name = rf'rank {victim} on {re.escape(socket.gethostname())} \(process {ranks[victim].pid}\)'
    assert re.search(f'error: {name} {reason}', said), said
    assert 'Traceback' not in said
