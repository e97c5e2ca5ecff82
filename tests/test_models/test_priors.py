"""EOVOD's priors: which cells look, which levels run, what ground truth becomes in training."""

import numpy as np
import pytest
import torch
from dense_parts import padded
from naive_eovod import cells, holds
from naive_video import taken

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import SelsaAggregator
from mmdet.models.contexts.cells import attend_in, cells_in_boxes, numbered
from mmdet.models.contexts.size_prior import SizePrior, SizeState
from mmdet.models.contexts.training_prior import TrainingPrior

# ---- location: cells in boxes

HEIGHT, WIDTH, STRIDE = 6, 9, 8


def cells_of(boxes: list[list[float]], ratio: float = 1.0, valid: list[bool] | None = None) -> set:
    given = torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4)
    used = torch.tensor([valid or [True] * len(boxes)], dtype=torch.bool)
    mask = cells_in_boxes(given, used, (HEIGHT, WIDTH), STRIDE, ratio)
    return set(map(tuple, mask.view(HEIGHT, WIDTH).nonzero().tolist()))


@pytest.mark.parametrize('ratio', [0.5, 0.8, 1.0, 1.5])
def test_masks_equal_a_loop_over_cells(ratio):
    rng, grid = np.random.default_rng(0), torch.zeros(1, 1, HEIGHT, WIDTH)
    low = rng.uniform(0, 60, (10, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 30, (10, 3, 2))], axis=2)
    for some in boxes.clip(0, [72, 48, 72, 48]).tolist():
        places = cells(grid)
        inside = {p for p in places if any(holds(b, *p, STRIDE, ratio, grid) for b in some[:2])}
        assert cells_of(some, ratio, valid=[True, True, False]) == inside


@pytest.mark.parametrize(('boxes', 'expected'), [
    ([[9, 9, 10, 10]], {(1, 1)}),  # inside of a cell, away from its centre
    ([[12, 12, 20, 12]], {(1, 1), (1, 2)}),  # both ends of the border count
    ([[60, 30, 72, 48]], {(4, 8), (5, 8), (4, 7), (5, 7)}),  # to the right and bottom edge
    ([[72, 48, 72, 48]], {(5, 8)}),  # nothing but the corner of the image
    ([[-30, -30, -20, -20]], {(0, 0)}),  # outside
    ([], set()),
])  # fmt: skip
def test_cells_of_boxes(boxes, expected):
    assert cells_of(boxes) == expected


def test_numbered_lists_the_cells_of_a_mask():
    mask = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]).bool()
    numbers, used = numbered(mask, None)
    assert numbers.tolist() == [[1, 3, 4], [3, 0, 0], [0, 0, 0]]
    assert used.sum(1).tolist() == [3, 1, 0]
    assert numbered(mask[2:], None)[1].tolist() == [[False]]
    numbers, used = numbered(mask, 2)
    assert numbers.tolist() == [[1, 3], [3, 0], [0, 0]] and used.sum().item() == 3


@torch.no_grad()
def test_cells_of_the_mask_take_from_the_keys_and_others_stay():
    torch.manual_seed(0)
    aggregator, x, refs = SelsaAggregator(16, 4), torch.randn(3, 16, 3, 5), torch.randn(3, 7, 16)
    mask, valid = torch.rand(3, 15) < 0.4, torch.ones(3, 7, dtype=torch.bool)
    valid[1, 3:] = False
    valid[2] = False  # no key: nothing changes, to the bit
    out = attend_in(aggregator, x, mask, aggregator.project(refs), valid).flatten(2)
    for b, before in enumerate(x.flatten(2)):
        assert torch.equal(out[b][:, ~mask[b]], before[:, ~mask[b]])
        seen = before.T + taken(aggregator, before.T, refs[b, valid[b]]) if b < 2 else before.T
        torch.testing.assert_close(out[b][:, mask[b]], seen[mask[b]].T, rtol=1e-5, atol=1e-5)
    assert torch.equal(out[2], x[2].flatten(1))


# ---- size: levels that run


def levels_of(prior: SizePrior, found: list[list[int]]) -> list:
    """Levels of every frame, given the levels found on it."""
    state, levels = SizeState(), []
    for on_frame in found:
        levels.append(prior.levels(state))
        if levels[-1] is None:
            prior.update_full(state, torch.tensor([-1, *on_frame, -1]))
        else:
            prior.update_partial(state)
    return levels


@pytest.mark.parametrize(('settings', 'found', 'expected'), [
    (dict(margin=0), [[1, 3]] + [[4]] * 7 + [[0]] * 3, [None, *[(1, 3)] * 7, None, (0,), (0,)]),
    (dict(interval=0), [[1]] * 4, [None] * 4),
    (dict(margin=0), [[], [], [2], [2]], [None, None, None, (2,)]),  # nothing found: full again
    (dict(margin=1), [[0], []], [None, (0, 1)]),
    (dict(margin=1), [[4], []], [None, (3, 4)]),
    (dict(margin=1), [[0, 2], []], [None, (0, 1, 2, 3)]),
    (dict(margin=2), [[1], []], [None, (0, 1, 2, 3)]),
    (dict(margin=0), [[3, 3, 1], []], [None, (1, 3)]),
    (dict(margin=9), [[2], []], [None, (0, 1, 2, 3, 4)]),
])  # fmt: skip
def test_levels_follow_from_the_last_full_frame(settings, found, expected):
    assert levels_of(SizePrior(5, **settings), found) == expected


def test_negative_settings_are_refused():
    with pytest.raises(ConfigError, match=r'at least 0, not -1, 1'):
        SizePrior(5, interval=-1)


# ---- training: ground truth in place of earlier detections

GT = padded([[[10, 20, 50, 40], [60, 10, 80, 90]], [[0, 0, 30, 30]]], [[0, 1], [2]])
SHAPES = torch.tensor([[100.0, 200.0], [80.0, 90.0]])
OFF = dict(plain_prob=0.0, drop_prob=0.0, jitter=0.0, distractors=0)


def draw(times: int = 400, **change) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    prior = TrainingPrior(**{**OFF, **change})
    drawn = [prior.boxes(GT, SHAPES) for _ in range(times)]
    return tuple(torch.stack(x) for x in zip(*drawn, strict=True))


def test_frames_and_boxes_are_left_out_as_often_as_wanted():
    boxes, valid = draw(1)
    assert torch.equal(boxes[0], GT.boxes) and torch.equal(valid[0], GT.valid)
    _, valid = draw(plain_prob=0.25)
    assert (valid[:, 0, 0] == valid[:, 0, 1]).all()  # all boxes of a frame or none
    assert 1 - valid[:, 0, 0].float().mean().item() == pytest.approx(0.25, abs=0.07)
    _, valid = draw(drop_prob=0.3)
    assert valid[:, 0].float().mean().item() == pytest.approx(0.7, abs=0.06)
    assert (valid[:, 0, 0] != valid[:, 0, 1]).any() and not valid[:, 1, 1].any()


def test_sides_move_by_a_part_of_the_box():
    boxes, _ = draw(jitter=0.1)
    shift, limit = boxes[:, 0, 0] - GT.boxes[0, 0], torch.tensor([4.0, 2.0, 4.0, 2.0])
    assert (shift.abs() <= limit).all()
    assert (shift.abs().amax(0) > 0.9 * limit).all() and (shift.mean(0).abs() < 0.2 * limit).all()


def test_distractors_lie_in_the_image_and_their_number_varies():
    boxes, valid = draw(distractors=2)
    extra, used = boxes[:, :, 2:], valid[:, :, 2:]
    assert set(used[:, 0].sum(1).tolist()) == {0, 1, 2}
    assert used.sum(2).float().mean().item() == pytest.approx(1.0, abs=0.1)
    size, sides = extra[..., 2:] - extra[..., :2], SHAPES.flip(1)[None, :, None]
    assert (extra[..., :2] >= 0).all() and (extra[..., 2:] <= sides + 1e-3).all()
    assert (size >= 0.05 * sides - 1e-3).all() and (size <= 0.5 * sides + 1e-3).all()
