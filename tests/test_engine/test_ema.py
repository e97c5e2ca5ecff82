"""The running average of the weights: its values, where it is used, and resuming."""

import math
from pathlib import Path

import engine_toy  # noqa: F401
import pytest
import torch
from mmengine.hooks import Hook

from mmdet.apis import train
from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.errors import CheckpointError, ConfigError
from mmdet.engine.loops import VideoTrainLoop
from mmdet.engine.training_hooks import EMAHook
from mmdet.registry import HOOKS

CONFIG = Path(__file__).parent / 'toy_config.py'
EMA = dict(type='EMAHook', momentum=0.05, warm_up=4, priority='ABOVE_NORMAL')


@HOOKS.register_module()
class Recorder(Hook):
    """The weights after every step, and those that are validated."""

    trained: list
    validated: list

    def before_train(self, runner) -> None:
        Recorder.trained, Recorder.validated = [state(runner.model)], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        Recorder.trained.append(state(runner.model))

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        Recorder.validated.append(state(runner.model))


def state(model) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def run(work_dir, hooks=(EMA,), **kwargs):
    options = {
        'train_dataloader.num_workers': 0,
        'custom_hooks': [*hooks, dict(type='Recorder')],
    }
    return train(CONFIG, work_dir=str(work_dir), cfg_options=options, **kwargs)


def average(trained: list[dict]) -> dict[str, torch.Tensor]:
    """Step by step in double precision."""
    kept = {k: v.double() for k, v in trained[0].items()}
    for n, weights in enumerate(trained[1:], start=1):
        rate = 0.05 + 0.95 * math.exp(-n / 4)
        for name, value in weights.items():
            moved = (1 - rate) * kept[name] + rate * value.double()
            kept[name] = moved if value.is_floating_point() else value.double()
    return kept


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    runner = run(folder, seed=3)
    return runner, folder, list(Recorder.trained), list(Recorder.validated)


def test_the_average_is_that_of_all_steps(whole):
    _, folder, trained, _ = whole
    saved = load_checkpoint_file(folder / 'latest.pth')['state_dict']
    expected = average(trained)
    assert saved.keys() == expected.keys() and len(trained) == 15
    for name, value in saved.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(saved['head.weight'], trained[-1]['head.weight'])


def test_it_is_what_is_validated_and_training_goes_on_from_the_weights(whole):
    runner, folder, trained, validated = whole
    saved = load_checkpoint_file(folder / 'latest.pth')['state_dict']
    assert all(torch.equal(validated[-1][k], v) for k, v in saved.items())
    assert all(torch.equal(v, trained[-1][k]) for k, v in state(runner.model).items())


def test_a_resumed_run_equals_one_that_was_not_stopped(whole, tmp_path, monkeypatch):
    runner, folder, _, _ = whole
    original = VideoTrainLoop.run_iter

    def stop(self, index, batch):
        if self.iter == 9:
            raise KeyboardInterrupt
        original(self, index, batch)

    monkeypatch.setattr(VideoTrainLoop, 'run_iter', stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seed=3)
    monkeypatch.setattr(VideoTrainLoop, 'run_iter', original)
    resumed = run(tmp_path, resume='auto')
    for name, value in state(runner.model).items():
        assert torch.equal(state(resumed.model)[name], value), name
    expected = load_checkpoint_file(folder / 'latest.pth')
    found = load_checkpoint_file(tmp_path / 'latest.pth')
    for name, value in expected['state_dict'].items():
        assert torch.equal(found['state_dict'][name], value), name
    assert found['ema']['steps'] == expected['ema']['steps'] == 14


def test_a_checkpoint_without_an_average_cannot_be_resumed(tmp_path):
    run(tmp_path, hooks=(), seed=3)
    with pytest.raises(CheckpointError, match=r'without EMAHook.*load_from'):
        run(tmp_path, resume='auto')


@pytest.mark.parametrize('change', [dict(momentum=0.0), dict(momentum=1.5), dict(warm_up=0)])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ConfigError, match='0 < momentum < 1 and warm_up >= 1'):
        EMAHook(**change)
