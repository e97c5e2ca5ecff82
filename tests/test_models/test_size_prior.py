"""Which levels run on which frame."""

import pytest
import torch

from mmdet.core.errors import ConfigError
from mmdet.models.contexts.size_prior import SizePrior, SizeState


def run(prior: SizePrior, found: list[list[int]]) -> list:
    """Levels of every frame, given the levels found on it."""
    state, levels = SizeState(), []
    for on_frame in found:
        levels.append(prior.levels(state))
        if levels[-1] is None:
            prior.update_full(state, torch.tensor([-1, *on_frame, -1]))
        else:
            prior.update_partial(state)
    return levels


def test_one_full_frame_then_seven_partial_ones():
    levels = run(SizePrior(5, interval=7, margin=0), [[1, 3]] + [[4]] * 7 + [[0]] * 3)
    assert levels == [None, *[(1, 3)] * 7, None, (0,), (0,)]


def test_an_interval_of_zero_makes_every_frame_full():
    assert run(SizePrior(5, interval=0), [[1]] * 4) == [None] * 4


def test_a_full_frame_without_detections_is_followed_by_another():
    assert run(SizePrior(5, margin=0), [[], [], [2], [2]]) == [None, None, None, (2,)]


@pytest.mark.parametrize(('margin', 'found', 'expected'), [
    (1, [0], (0, 1)), (1, [4], (3, 4)), (1, [0, 2], (0, 1, 2, 3)), (2, [1], (0, 1, 2, 3)),
    (0, [3, 3, 1], (1, 3)), (9, [2], (0, 1, 2, 3, 4)),
])  # fmt: skip
def test_neighbours_of_levels_run_too(margin, found, expected):
    assert run(SizePrior(5, margin=margin), [found, []]) == [None, expected]


def test_negative_settings_are_refused():
    with pytest.raises(ConfigError, match=r'at least 0, not -1, 1'):
        SizePrior(5, interval=-1)
