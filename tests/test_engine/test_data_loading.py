"""A small /dev/shm, a worker that dies and a loader that hangs: a sentence, and no waiting."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from mmdet.apis.common import plain_errors
from mmdet.engine import data_loading
from mmdet.engine.data_loading import build_loader


def loader_of(data, **options):
    sampler = dict(type='DefaultSampler', shuffle=False)
    return build_loader(dict(dataset=data, sampler=sampler, **options))


@pytest.mark.parametrize(
    ('free', 'wanted', 'expected'), [(64, 4, 0), (200, 4, 2), (4000, 4, 4), (64, 0, 0)]
)
def test_workers_fit_the_memory(monkeypatch, free, wanted, expected):
    said = []
    monkeypatch.setattr(data_loading, 'print_log', lambda text, **_: said.append(text))
    usage = SimpleNamespace(free=free << 20)
    monkeypatch.setattr(data_loading.shutil, 'disk_usage', lambda _: usage)
    loader = loader_of([1, 2], num_workers=wanted, persistent_workers=True, prefetch_factor=2)
    assert loader.num_workers == expected
    assert loader.persistent_workers == (loader.timeout > 0) == (expected > 0)
    assert len(said) == (expected < wanted)
    assert all(f'{free} MiB free' in text and '--shm-size' in text for text in said)


def test_a_configured_patience_stays():
    assert loader_of([1, 2], num_workers=1, timeout=7).timeout == 7


class Data:
    def __init__(self, misfortune):
        self.misfortune = misfortune

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.misfortune()


@pytest.mark.parametrize(
    ('misfortune', 'sentence'),
    [
        (lambda: os.kill(os.getpid(), signal.SIGBUS), 'error: A data worker died'),
        (lambda: time.sleep(3600), 'gave no batch'),
    ],
)
def test_what_became_of_a_worker(misfortune, sentence):
    with pytest.raises(SystemExit) as caught, plain_errors():
        next(iter(DataLoader(Data(misfortune), num_workers=1, timeout=2)))
    assert sentence in caught.value.code


def test_other_faults_keep_their_traceback():
    with pytest.raises(RuntimeError, match='shapes'), plain_errors():
        raise RuntimeError('shapes do not fit')


SMALL = """
import subprocess
subprocess.run('mount -t tmpfs -o size=8m tmpfs /dev/shm', shell=True, check=True)
import torch
from test_data_loading import loader_of
loader = loader_of([torch.zeros(20_000_000) for _ in range(3)], num_workers=2)
print(loader.num_workers, sum(1 for _ in loader))
"""


def test_a_real_small_one():
    """In a mount namespace of its own, where the machine allows that."""
    if subprocess.run(['unshare', '-m', 'true'], capture_output=True, check=False).returncode:
        pytest.skip('no mount namespaces here')
    command, folder = ['unshare', '-m', sys.executable, '-c', SMALL], os.path.dirname(__file__)
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=200)
    assert done.stdout.splitlines()[-1] == '0 3', done.stderr
    assert torch.zeros(1).share_memory_().is_shared()  # ours is as before
