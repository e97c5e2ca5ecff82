import numpy as np
import pytest
from vid_oracle import descending as literal
from vid_oracle import introsort

from mmdet.evaluation.score_order import descending, descending_within


@pytest.mark.parametrize('n', [0, 1, 2, 16, 17, 18, 40, 333, 3000])
@pytest.mark.parametrize('levels', [2, 9, 1_000_000])
def test_ties_come_as_from_numpys_introsort(n, levels):
    for seed in range(3):
        score = np.random.default_rng(seed).integers(0, levels, n).astype(np.float32) / levels
        assert descending(score).tolist() == literal(score)


def test_the_oracle_sorts():
    values = np.random.default_rng(0).integers(0, 50, 500)
    assert values[introsort(values)].tolist() == sorted(values.tolist())


@pytest.mark.parametrize('levels', [3, 1_000_000])
def test_groups_are_sorted_one_by_one(levels):
    rng = np.random.default_rng(levels)
    sizes = [0, 1, 5, 16, 17, 60, 3, 200]
    group = np.repeat(np.arange(len(sizes)), sizes)
    score = rng.integers(0, levels, len(group)).astype(np.float32)
    wanted = []
    for g in range(len(sizes)):
        rows = np.flatnonzero(group == g)
        wanted += rows[literal(score[rows])].tolist() if len(rows) else []
    assert descending_within(group, score).tolist() == wanted


def test_sorted_groups_stay():
    group = np.repeat([2, 5, 7], 3)
    score = np.tile(np.array([0.9, 0.5, 0.1], np.float32), 3)
    assert descending_within(group, score).tolist() == list(range(9))
