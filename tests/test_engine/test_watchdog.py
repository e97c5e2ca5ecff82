"""A rank that stops, dies or fails is named by the others, long before the process group ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.dist, pytest.mark.slow]

SILENCE_S = 6
PROGRAM = """
import os, signal, sys, time
import torch.distributed as dist
from mmdet.apis.common import plain_errors
from mmdet.core.errors import ConfigError
from mmdet.engine import dist as ours
rank, what = int(os.environ['RANK']), sys.argv[1]
with plain_errors():
    ours.init_dist('pytorch', use_gpu=False, silence_s=float(sys.argv[2]))
    dist.barrier()
    print('together', flush=True)
    victim = 0 if what.endswith('0') else 1
    if what.startswith('slow') and rank == victim:
        time.sleep(2.5 * float(sys.argv[2]))
    elif what.startswith('fail') and rank == victim:
        raise ConfigError('the reason')
    elif rank == victim and what != 'none':
        os.kill(os.getpid(), signal.SIGSTOP if what.startswith('stop') else signal.SIGKILL)
    dist.barrier()
print('finished', flush=True)
"""


def run(what: str, world: int = 2) -> tuple[list[subprocess.Popen], list[str], list[str]]:
    """The processes, and what those that ended printed and complained of."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    processes = []
    for rank in range(world):
        names = dict(RANK=rank, WORLD_SIZE=world, LOCAL_RANK=rank, MASTER_PORT=port)
        env = os.environ | {k: str(v) for k, v in names.items()} | {'MASTER_ADDR': '127.0.0.1'}
        command = [sys.executable, '-c', PROGRAM, what, str(SILENCE_S)]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(subprocess.Popen(command, env=env, **pipes))
    victim = None if what in ('none', 'slow') else 0 if what.endswith('0') else 1
    end = time.monotonic() + 200
    said = {}
    for rank, process in enumerate(processes):
        if rank != victim or not what.startswith('stop'):
            said[rank] = process.communicate(timeout=max(end - time.monotonic(), 1))
    if what.startswith('stop'):
        processes[victim].send_signal(signal.SIGKILL)
        said[victim] = processes[victim].communicate()
    outputs, errors = zip(*(said[rank] for rank in range(world)), strict=True)
    return processes, list(outputs), list(errors)


@pytest.mark.parametrize('what', ['stop', 'stop0', 'die', 'fail'])
def test_the_missing_rank_is_named(what):
    processes, outputs, errors = run(what)
    victim = 0 if what.endswith('0') else 1
    other = 1 - victim
    assert 'together' in outputs[other] and 'finished' not in outputs[other]
    assert processes[other].returncode == 1
    reason = f'was silent for {SILENCE_S} s' if what.startswith('stop') else 'has ended'
    name = rf'rank {victim} on {re.escape(socket.gethostname())} \(process '
    name += rf'{processes[victim].pid}\)'
    gloo = 'Connection closed by peer' in errors[other] or 'Connection reset' in errors[other]
    assert re.search(f'error: {name} {reason}', errors[other]) or (gloo and what != 'stop')
    if what == 'fail':
        assert 'error: the reason' in errors[victim]


def test_a_rank_that_is_slow_is_none_that_stopped():
    processes, outputs, errors = run('slow')
    assert [p.returncode for p in processes] == [0, 0], errors
    assert all('finished' in text for text in outputs)
