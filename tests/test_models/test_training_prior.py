"""What ground truth becomes before it stands for earlier detections."""

import pytest
import torch
from dense_parts import padded

from mmdet.models.contexts.training_prior import TrainingPrior

OFF = dict(plain_prob=0.0, drop_prob=0.0, jitter=0.0, distractors=0)
GT = padded([[[10, 20, 50, 40], [60, 10, 80, 90]], [[0, 0, 30, 30]]], [[0, 1], [2]])
SHAPES = torch.tensor([[100.0, 200.0], [80.0, 90.0]])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def draw(times: int = 400, **change):
    prior = TrainingPrior(**{**OFF, **change})
    drawn = [prior.boxes(GT, SHAPES) for _ in range(times)]
    return torch.stack([boxes for boxes, _ in drawn]), torch.stack([valid for _, valid in drawn])


def test_without_any_change_it_is_the_ground_truth():
    boxes, valid = draw(1)
    assert torch.equal(boxes[0], GT.boxes) and torch.equal(valid[0], GT.valid)


def test_some_frames_have_no_prior_at_all():
    _, valid = draw(plain_prob=0.25)
    both = valid[:, 0]
    assert (both[:, 0] == both[:, 1]).all()  # all boxes of a frame or none
    assert 1 - valid[:, 0, 0].float().mean().item() == pytest.approx(0.25, abs=0.07)


def test_boxes_are_dropped_one_by_one():
    _, valid = draw(drop_prob=0.3)
    assert valid[:, 0].float().mean().item() == pytest.approx(0.7, abs=0.06)
    assert (valid[:, 0, 0] != valid[:, 0, 1]).any() and not valid[:, 1, 1].any()


def test_sides_move_by_a_part_of_the_box():
    boxes, _ = draw(jitter=0.1)
    shift = boxes[:, 0, 0] - GT.boxes[0, 0]
    limit = torch.tensor([4.0, 2.0, 4.0, 2.0])
    assert (shift.abs() <= limit).all()
    assert (shift.abs().amax(0) > 0.9 * limit).all() and (shift.mean(0).abs() < 0.2 * limit).all()


def test_distractors_lie_in_the_image_and_their_number_varies():
    boxes, valid = draw(distractors=2)
    extra, used = boxes[:, :, 2:], valid[:, :, 2:]
    assert set(used[:, 0].sum(1).tolist()) == {0, 1, 2}
    assert used.sum(2).float().mean().item() == pytest.approx(1.0, abs=0.1)
    size = extra[..., 2:] - extra[..., :2]
    sides = SHAPES.flip(1)[None, :, None]
    assert (extra[..., :2] >= 0).all() and (extra[..., 2:] <= sides + 1e-3).all()
    assert (size >= 0.05 * sides - 1e-3).all() and (size <= 0.5 * sides + 1e-3).all()
