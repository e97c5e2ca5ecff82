"""Trainings of the toy detector: 2 epochs of 7 iterations of 2 clips, on one CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import engine_toy  # noqa: F401
import torch

from mmdet import apis
from mmdet.engine.loops import VideoTrainLoop

CONFIG = Path(__file__).with_name('toy_config.py')
BY_ITERATION = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 1}
ONE_EPOCH = {'train_cfg.max_epochs': 1}


def train(work_dir: Path, options: dict | None = None, **kwargs):
    """The runner after a training; `seed=3` unless it is resumed."""
    kwargs = {**({} if 'resume' in kwargs else {'seed': 3}), **kwargs}
    return apis.train(CONFIG, work_dir=str(work_dir), cfg_options=options, **kwargs)


def weights(runner) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in runner.model.state_dict().items()}


def assert_same(one, other) -> None:
    """The weights of two runs (or of a file) are equal to the last bit."""
    one, other = (x if isinstance(x, dict) else weights(x) for x in (one, other))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@contextmanager
def interrupted_at(iteration: int, what=KeyboardInterrupt) -> Iterator[None]:
    """Before this iteration (from 0) trainings raise an exception, or signal themselves."""
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        if self.iter == iteration:
            if isinstance(what, type):
                raise what
            os.kill(os.getpid(), what)
        original(self, index, batch)

    with mock.patch.object(VideoTrainLoop, 'run_iter', run_iter):
        yield


def log_of(work_dir: Path) -> str:
    """The newest log."""
    return max(Path(work_dir).rglob('*.log')).read_text()
