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
from mmdet.core.errors import CheckpointError
from mmdet.engine.training_hooks import LastEpochsHook, MultiScaleHook
from mmdet.models.batch import ClipPreprocessor
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


def test_the_average_is_that_of_all_steps_is_validated_and_is_resumed(tmp_path):
    runner = run(tmp_path / 'whole')
    checkpoint = load_checkpoint_file(tmp_path / 'whole/latest.pth')
    saved, trained = checkpoint['state_dict'], Recorder.trained
    expected = {k: v.double() for k, v in trained[0].items()}
    for n, step in enumerate(trained[1:], start=1):
        rate = 0.05 + 0.95 * math.exp(-n / 4)
        for name, value in step.items():
            moved = (1 - rate) * expected[name] + rate * value.double()
            expected[name] = moved if value.is_floating_point() else value.double()
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
    run(tmp_path / 'without', hooks=())
    with pytest.raises(CheckpointError, match=r'without EMAHook.*load_from'):
        run(tmp_path / 'without', resume='auto')


def test_sides_change_every_ten_iterations_and_follow_from_seed_and_iteration():
    preprocessor, sides = ClipPreprocessor(pad_to_square=True), []
    run = SimpleNamespace(seed=3, model=SimpleNamespace(data_preprocessor=preprocessor))
    for run.iter in range(1000):
        hook = MultiScaleHook()  # as after a resume
        hook.before_train(run)
        hook.before_train_iter(run, 0)
        sides.append(preprocessor.train_side)
    assert all(len(set(sides[i : i + 10])) == 1 for i in range(0, 1000, 10))
    assert sides[0] is None and set(sides[10:]) == set(range(480, 801, 32))


def test_images_and_boxes_are_resized_alike_in_training_alone():
    frame = Frame('x', boxes=np.array([[4, 6, 20, 30]], np.float32), labels=np.array([0]))
    clip = Clip([frame], images=torch.randint(0, 256, (1, 40, 64, 3), dtype=torch.uint8))
    preprocessor = ClipPreprocessor(pad_size_divisor=32, pad_to_square=True)
    plain = preprocessor.batch([clip], (64, 64), training=True).images
    preprocessor.train_side = 96
    batch = preprocessor.batch([clip], (64, 64), training=True)
    expected = F.interpolate(plain, (96, 96), mode='bilinear', align_corners=False)
    torch.testing.assert_close(batch.images, expected)
    assert batch.gt.boxes.tolist() == [[[6, 9, 30, 45]]] and batch.img_shapes.tolist() == [[60, 96]]
    assert torch.equal(preprocessor.batch([clip], (64, 64), training=False).images, plain)


def test_mixing_stops_and_l1_starts_in_the_last_epochs():
    model = nn.Sequential(nn.Linear(1, 1))
    mixing = SimpleNamespace(enabled=True)
    data = SimpleNamespace(pipeline=[SimpleNamespace(), mixing])
    loader = SimpleNamespace(dataset=SimpleNamespace(datasets=[data]), _iterator='workers')
    run = SimpleNamespace(max_epochs=10, model=model, train_dataloader=loader)
    run.logger = SimpleNamespace(info=print)
    for run.epoch, last in ((6, False), (7, True)):
        model[0].use_l1 = False
        LastEpochsHook(3).before_train_epoch(run)
        assert (mixing.enabled, model[0].use_l1) == (not last, last)
        assert loader._iterator == (None if last else 'workers')
