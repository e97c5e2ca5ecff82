"""Hooks of YOLOX's training: the average of the weights, random sizes, and the last epochs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from torch import nn
from toy_runs import assert_same, interrupted_at, train, weights

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.errors import CheckpointError, ConfigError
from mmdet.engine.training_hooks import EMAHook, LastEpochsHook, MultiScaleHook
from mmdet.models.batch import ClipPreprocessor, ground_truth
from mmdet.registry import HOOKS
from mmdet.structures import Clip, Frame

EMA = dict(type='EMAHook', momentum=0.05, warm_up=4, priority='ABOVE_NORMAL')


@HOOKS.register_module()
class Recorder(Hook):
    """The weights after every step, and those that are validated."""

    trained: list
    validated: list

    def before_train(self, runner) -> None:
        Recorder.trained, Recorder.validated = [weights(runner)], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        Recorder.trained.append(weights(runner))

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        Recorder.validated.append(weights(runner))


def run(work_dir, hooks=(EMA,), **kwargs):
    return train(work_dir, {'custom_hooks': [*hooks, dict(type='Recorder')]}, **kwargs)


def average(trained: list[dict]) -> dict[str, torch.Tensor]:
    """Step by step in double precision."""
    kept = {k: v.double() for k, v in trained[0].items()}
    for n, step in enumerate(trained[1:], start=1):
        rate = 0.05 + 0.95 * math.exp(-n / 4)
        for name, value in step.items():
            moved = (1 - rate) * kept[name] + rate * value.double()
            kept[name] = moved if value.is_floating_point() else value.double()
    return kept


def test_the_average_is_that_of_all_steps_is_validated_and_is_resumed(tmp_path):
    runner = run(tmp_path / 'whole')
    checkpoint = load_checkpoint_file(tmp_path / 'whole/latest.pth')
    saved, expected, trained = checkpoint['state_dict'], average(Recorder.trained), Recorder.trained
    assert saved.keys() == expected.keys() and len(trained) == 15
    for name, value in saved.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(saved['head.weight'], trained[-1]['head.weight'])
    assert_same(Recorder.validated[-1], saved)
    assert_same(runner, trained[-1])  # training goes on from the weights
    with interrupted_at(9), pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert_same(run(tmp_path, resume='auto'), runner)
    found = load_checkpoint_file(tmp_path / 'latest.pth')
    assert_same(found['state_dict'], saved)
    assert found['ema']['steps'] == checkpoint['ema']['steps'] == 14


def test_a_checkpoint_without_an_average_cannot_be_resumed(tmp_path):
    run(tmp_path, hooks=())
    with pytest.raises(CheckpointError, match=r'without EMAHook.*load_from'):
        run(tmp_path, resume='auto')


@pytest.mark.parametrize(
    ('hook', 'settings', 'said'),
    [
        *((EMAHook, s, 'momentum < 1') for s in (dict(momentum=0.0), dict(warm_up=0))),
        *((MultiScaleHook, s, 'multiples') for s in (dict(sides=(500, 800)), dict(interval=0))),
        (MultiScaleHook, dict(sides=(800, 480)), 'multiples'),
        (LastEpochsHook, dict(epochs=-1), 'at least 0'),
    ],
)
def test_settings_out_of_range_are_refused(hook, settings, said):
    with pytest.raises(ConfigError, match=said):
        hook(**settings)


def sides(first: int, last: int, seed: int = 3, pad_to_square: bool = True) -> list:
    """What the images of the iterations `first` to `last` of one run are resized to."""
    hook, seen = MultiScaleHook(), []
    preprocessor = ClipPreprocessor(pad_to_square=pad_to_square)
    run = SimpleNamespace(seed=seed, model=SimpleNamespace(data_preprocessor=preprocessor))
    hook.before_train(run)
    for run.iter in range(first, last):
        hook.before_train_iter(run, 0)
        seen.append(preprocessor.train_side)
    return seen


def test_sides_change_every_ten_iterations_and_follow_from_seed_and_iteration():
    seen = sides(0, 3000)
    assert seen[:10] == [None] * 10
    periods = [set(seen[i : i + 10]) for i in range(10, 3000, 10)]
    assert all(len(period) == 1 for period in periods)
    assert set.union(*periods) == set(range(480, 801, 32))
    assert sides(0, 87) + sides(87, 200) == seen[:200] != sides(0, 200, seed=4)
    with pytest.raises(ConfigError, match='pad_to_square'):
        sides(0, 1, pad_to_square=False)


def test_images_and_boxes_are_resized_alike_in_training_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 64, 3), np.uint8)
    box, label = np.array([[4, 6, 20, 30]], np.float32), np.array([0])
    frames = [Frame('x', boxes=box, labels=label) for _ in range(2)]
    clip = Clip(frames, images=torch.from_numpy(pixels))
    preprocessor = ClipPreprocessor(pad_size_divisor=32, pad_to_square=True)
    plain = preprocessor.batch([clip], (64, 64), training=True)
    preprocessor.train_side = 96
    batch = preprocessor.batch([clip], (64, 64), training=True)
    expected = F.interpolate(plain.images, (96, 96), mode='bilinear', align_corners=False)
    torch.testing.assert_close(batch.images, expected)
    assert batch.img_shapes.tolist() == [[60, 96]] * 2
    assert batch.gt.boxes.tolist() == [[[6, 9, 30, 45]]]
    refs = ground_truth(clip.refs, torch.device('cpu'), batch.scale)
    assert torch.equal(refs.boxes, batch.gt.boxes)
    assert preprocessor.batch([clip], (64, 64), training=False).images.shape == (2, 3, 64, 64)


@pytest.mark.parametrize('epoch', [0, 6, 7, 9])
def test_mixing_stops_and_l1_starts_whatever_epoch_a_run_starts_with(epoch):
    model = nn.Sequential(nn.Linear(1, 1))
    model[0].use_l1 = False
    mixing, other = SimpleNamespace(enabled=True), SimpleNamespace()
    data = [SimpleNamespace(pipeline=[other, mixing]), SimpleNamespace(pipeline=[other])]
    loader = SimpleNamespace(dataset=SimpleNamespace(datasets=data), _iterator='workers')
    run = SimpleNamespace(epoch=epoch, max_epochs=10, model=model, train_dataloader=loader)
    run.logger = SimpleNamespace(info=print)
    for _ in range(2):  # the second epoch is of the same kind
        LastEpochsHook(3).before_train_epoch(run)
        last = epoch >= 7
        assert (mixing.enabled, model[0].use_l1) == (not last, last)
        assert not hasattr(other, 'enabled')
        assert loader._iterator == (None if last else 'workers')
