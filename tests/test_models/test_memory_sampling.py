"""How a reference is taken from remembered maps, on memories whose maps are constants."""

import numpy as np
import pytest
import torch

from mmdet.models.contexts.memory_sampling import SAMPLERS

HW = (5, 7)


def numbered(count: int, channels: int = 6) -> list[torch.Tensor]:
    """Map t is t everywhere."""
    return [torch.full((HW[0] * HW[1], channels), float(t)) for t in range(count)]


def sample(name: str, maps: list[torch.Tensor], seed: int = 0) -> torch.Tensor:
    return SAMPLERS[name](maps, HW, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('count', [1, 4])
def test_earliest_is_the_oldest(count):
    assert torch.equal(sample('earliest', numbered(count)), torch.zeros(35, 6))


def test_nms_takes_the_first_of_the_largest_norms():
    """The norm of the whole map: one with a single huge token loses to many middling ones."""
    maps = [
        torch.zeros(35, 6),
        torch.full((35, 6), -2.0),
        torch.zeros(35, 6),
        torch.full((35, 6), 2.0),
    ]
    maps[2][3, 4] = 20  # norm 20; of the others 2 * sqrt(210) = 29
    assert torch.equal(sample('nms', maps), maps[1])


def test_channel_shuffle_draws_a_map_per_channel():
    out = sample('channel_shuffle', numbered(8, channels=400), seed=3)
    assert (out == out[0]).all()  # the same for every token
    expected = torch.randint(8, (400,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(out[0], expected.float())
    assert len(out[0].unique()) == 8


@pytest.mark.parametrize('count', [1, 2, 3, 4, 6, 8, 16])
def test_patch_shuffle_draws_a_map_of_its_quarter_per_quadrant(count):
    quarters = [q.tolist() or list(range(count)) for q in np.array_split(range(count), 4)]
    seen = [set() for _ in quarters]
    for seed in range(60):
        grid = sample('patch_shuffle', numbered(count), seed)[:, 0].view(HW)
        quadrants = grid[:2, :3], grid[:2, 3:], grid[2:, :3], grid[2:, 3:]
        for quadrant, values in zip(quadrants, seen, strict=True):
            assert len(quadrant.unique()) == 1
            values.add(int(quadrant[0, 0]))
    assert [sorted(values) for values in seen] == quarters


@pytest.mark.parametrize('name', ['channel_shuffle', 'patch_shuffle'])
def test_draws_are_those_of_the_generator(name):
    maps = numbered(16, channels=40)
    torch.manual_seed(1)
    first = sample(name, maps, seed=5)
    torch.manual_seed(2)
    assert torch.equal(sample(name, maps, seed=5), first)
    assert any(not torch.equal(sample(name, maps, seed=s), first) for s in range(6, 9))
