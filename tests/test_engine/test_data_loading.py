"""A small /dev/shm, a worker that dies and a loader that hangs: a sentence, and no waiting."""

import os
import signal
import time
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from mmdet.apis.common import plain_errors
from mmdet.engine import data_loading
from mmdet.engine.data_loading import build_loader


@pytest.mark.parametrize(('free', 'wanted', 'expected'), [(64, 4, 0), (200, 4, 2), (4000, 4, 4)])
def test_workers_fit_the_memory(monkeypatch, free, wanted, expected):
    said = []
    monkeypatch.setattr(data_loading, 'print_log', lambda text, **_: said.append(text))
    usage = SimpleNamespace(free=free << 20)
    monkeypatch.setattr(data_loading.shutil, 'disk_usage', lambda _: usage)
    sampler = dict(type='DefaultSampler', shuffle=False)
    options = dict(num_workers=wanted, persistent_workers=True, prefetch_factor=2)
    loader = build_loader(dict(dataset=[1, 2], sampler=sampler, **options))
    assert loader.num_workers == expected
    assert loader.persistent_workers == (loader.timeout > 0) == (expected > 0)
    assert len(said) == (expected < wanted)
    assert all(f'{free} MiB free' in text and '--shm-size' in text for text in said)


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
