"""YOLOX's random sizes: which, and what they do to a batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmdet.core.errors import ConfigError
from mmdet.engine.training_hooks import MultiScaleHook
from mmdet.models.batch import ClipPreprocessor, ground_truth
from mmdet.structures import Clip, Frame


def sides(first: int, last: int, seed: int = 3, hook: MultiScaleHook | None = None) -> list:
    """What the images of the iterations `first` to `last` of one run are resized to."""
    hook, seen = hook or MultiScaleHook(), []
    preprocessor = ClipPreprocessor(pad_to_square=True)
    run = SimpleNamespace(seed=seed, model=SimpleNamespace(data_preprocessor=preprocessor))
    hook.before_train(run)
    for run.iter in range(first, last):
        hook.before_train_iter(run, 0)
        seen.append(preprocessor.train_side)
    return seen


def test_sides_change_every_ten_iterations_and_fill_the_range():
    seen = sides(0, 3000)
    assert seen[:10] == [None] * 10
    periods = [set(seen[i : i + 10]) for i in range(10, 3000, 10)]
    assert all(len(period) == 1 for period in periods)
    assert set.union(*periods) == set(range(480, 801, 32))


def test_a_resumed_run_goes_on_with_the_same_sides_and_other_seeds_have_others():
    whole = sides(0, 200)
    assert [side for i in (0, 87, 123) for side in sides(i, {0: 87, 87: 123, 123: 200}[i])] == whole
    assert sides(0, 200, seed=4) != whole


def test_images_and_boxes_are_resized_alike_in_training_alone():
    rng = np.random.default_rng(0)
    frames = [Frame('x', boxes=np.array([[4, 6, 20, 30]], np.float32), labels=np.array([0]))
              for _ in range(2)]  # fmt: skip
    clip = Clip(frames, images=torch.from_numpy(rng.integers(0, 256, (2, 40, 64, 3), np.uint8)))
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


@pytest.mark.parametrize('bad', [dict(sides=(500, 800)), dict(sides=(800, 480)), dict(interval=0)])
def test_sides_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigError, match='multiples of step'):
        MultiScaleHook(**bad)


def test_a_model_without_squares_is_refused():
    run = SimpleNamespace(seed=0, model=SimpleNamespace(data_preprocessor=ClipPreprocessor()))
    with pytest.raises(ConfigError, match='pad_to_square'):
        MultiScaleHook().before_train(run)
