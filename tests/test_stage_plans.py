"""One reference per stage: against the set of frames that may be drawn, written out."""

from collections import Counter

import numpy as np
import pytest

from mmdet.core.errors import ConfigError
from mmdet.plans import make_clip, sampler_plan
from mmdet.stage_plans import StagePlan
from mmdet.structures import Frame


def drawn(plan: StagePlan, key: int, length: int, draws: int = 400) -> list[Counter]:
    """How often which frame was drawn, per stage."""
    rng = np.random.default_rng(0)
    counts = [Counter() for _ in plan.ranges]
    for _ in range(draws):
        refs = plan(key, length, rng)
        assert [role for role, _ in refs] == [f'stage{s + 1}' for s in range(len(counts))]
        for count, (_, frame) in zip(counts, refs, strict=True):
            count[frame] += 1
    return counts


def check(plan: StagePlan, key: int, length: int, expected: list[set[int]]) -> None:
    """Exactly these frames are drawn, each about as often as the others."""
    counts = drawn(plan, key, length)
    assert [set(count) for count in counts] == expected
    for count in counts:
        mean = 400 / len(count)
        assert all(abs(n - mean) < 5 * mean**0.5 for n in count.values())


def around(key: int, low: int, high: int, length: int = 60) -> set[int]:
    return {f for f in range(max(0, key + low), min(length - 1, key + high) + 1) if f != key}


@pytest.mark.parametrize('key', [0, 3, 30, 59])
def test_windows_of_the_stages(key):
    plan = StagePlan('stagewise_uniform', [2, 4, 8, 16])
    check(plan, key, 60, [around(key, -d, d) for d in (2, 4, 8, 16)])


def test_windows_of_the_past_and_their_nearest_frame():
    plan = StagePlan('stagewise_uniform', [[-7, -4], [-15, -8]])
    check(plan, 30, 60, [{23, 24, 25, 26}, set(range(15, 23))])
    check(plan, 5, 60, [{0, 1}, {0}])
    check(plan, 2, 60, [{0}, {0}])
    check(plan, 0, 60, [{0}, {0}])  # nothing but the key
    check(StagePlan('stagewise_uniform', [[4, 7]]), 58, 60, [{59}])
    check(StagePlan('stagewise_uniform', [0]), 5, 60, [{5}])


@pytest.mark.parametrize('key', [0, 20, 45])
def test_rings(key):
    """Distances 1-5, 6-10, 11-20, 21-40, on both sides."""
    plan = StagePlan('stagewise_ring', [5, 10, 20, 40])
    bounds = ((1, 5), (6, 10), (11, 20), (21, 40))
    expected = [{f for f in range(60) if a <= abs(f - key) <= b} for a, b in bounds]
    check(plan, key, 60, expected)


def test_a_ring_outside_of_the_video_takes_any_other_frame():
    check(StagePlan('stagewise_ring', [2, 4, 40]), 1, 4, [{0, 2, 3}, {0, 2, 3}, {0, 2, 3}])


@pytest.mark.parametrize('method', ['stagewise_uniform', 'stagewise_ring'])
def test_an_image_is_its_own_reference(method):
    plan = StagePlan(method, [4, 8, 16, 32])
    rng = np.random.default_rng(0)
    assert plan(-1, 1, rng) == [(f'stage{s}', -1) for s in (1, 2, 3, 4)]
    assert plan(0, 1, rng) == [(f'stage{s}', 0) for s in (1, 2, 3, 4)]


def test_the_frames_of_a_clip_carry_their_stage():
    plan = sampler_plan(dict(method='stagewise_uniform', frame_range=[[1, 1], [-2, -2]]))
    rng = np.random.default_rng(0)
    clip = make_clip(plan, 5, 9, rng, lambda i: Frame(path=str(i), frame_id=i))
    pairs = [(frame.role, frame.frame_id) for frame in clip.frames]
    assert pairs == [('key', 5), ('stage1', 6), ('stage2', 3)]


@pytest.mark.parametrize(
    ('method', 'frame_range', 'message'),
    [
        ('stagewise', [1], "expected stagewise_uniform or stagewise_ring"),
        ('stagewise_uniform', 4, 'one per stage'),
        ('stagewise_uniform', [], 'one per stage'),
        ('stagewise_uniform', [-1], 'an integer >= 0 or'),
        ('stagewise_uniform', [[3, 1]], 'low <= high'),
        ('stagewise_uniform', [2.5], 'an integer >= 0 or'),
        ('stagewise_ring', [5, 5], 'ascending outer radii'),
        ('stagewise_ring', [[1, 5]], 'ascending outer radii'),
    ],
)  # fmt: skip
def test_ranges_that_make_no_sense_are_refused(method, frame_range, message):
    with pytest.raises(ConfigError, match=message):
        StagePlan(method, frame_range)
