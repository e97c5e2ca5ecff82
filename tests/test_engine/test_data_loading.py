"""A small /dev/shm, a worker that dies and a loader that hangs: a sentence, and no waiting."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmdet.apis.common import plain_errors
from mmdet.engine import data_loading
from mmdet.engine.data_loading import build_loader

MIB = 1 << 20
SAMPLER = dict(type='DefaultSampler', shuffle=False)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(data_loading, 'print_log', lambda text, **_: lines.append(text))
    return lines


@pytest.mark.parametrize(
    ('free', 'wanted', 'expected'), [(64, 4, 0), (200, 4, 2), (4000, 4, 4), (64, 0, 0)]
)
def test_workers_fit_the_memory(monkeypatch, said, free, wanted, expected):
    usage = SimpleNamespace(free=free * MIB)
    monkeypatch.setattr(data_loading.shutil, 'disk_usage', lambda _: usage)
    options = dict(num_workers=wanted, persistent_workers=True, prefetch_factor=2)
    loader = build_loader(dict(dataset=[1, 2], sampler=SAMPLER, **options))
    assert loader.num_workers == expected
    assert loader.persistent_workers == (loader.timeout > 0) == (expected > 0)
    assert len(said) == (expected < wanted)
    if said:
        assert f'{free} MiB free' in said[0] and '--shm-size' in said[0]


def test_a_configured_patience_stays():
    options = dict(num_workers=1, timeout=7)
    assert build_loader(dict(dataset=[1, 2], sampler=SAMPLER, **options)).timeout == 7


class Killed(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGBUS)


class Hanging(Killed):
    def __getitem__(self, index):
        time.sleep(3600)


@pytest.mark.parametrize(
    ('data', 'sentence'),
    [(Killed(), 'error: A data worker died'), (Hanging(), 'gave no batch')],
)
def test_what_became_of_a_worker(data, sentence):
    with pytest.raises(SystemExit) as caught, plain_errors():
        next(iter(DataLoader(data, num_workers=1, timeout=2)))
    assert sentence in caught.value.code


def test_other_faults_keep_their_traceback():
    with pytest.raises(RuntimeError, match='shapes'), plain_errors():
        raise RuntimeError('shapes do not fit')
    assert data_loading.about_workers(RuntimeError('')) == ''
    killed = RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed.')
    assert 'memory ran out and the system' in data_loading.about_workers(killed)


SMALL = """
import subprocess, sys
subprocess.run('mount -t tmpfs -o size=8m tmpfs /dev/shm', shell=True, check=True)
import torch
from mmdet.engine.data_loading import build_loader
data = [torch.zeros(20_000_000) for _ in range(3)]
sampler = dict(type='DefaultSampler', shuffle=False)
loader = build_loader(dict(num_workers=2, dataset=data, sampler=sampler))
print(loader.num_workers, sum(1 for _ in loader))
"""


def test_a_real_small_one():
    """In a mount namespace of its own, where the machine allows that."""
    done = subprocess.run(['unshare', '-m', 'true'], capture_output=True, check=False)
    if done.returncode:
        pytest.skip('no mount namespaces here')
    command = ['unshare', '-m', sys.executable, '-c', SMALL]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout.splitlines()[-1] == '0 3', done.stderr
    assert torch.zeros(1).share_memory_().is_shared()  # ours is as before
