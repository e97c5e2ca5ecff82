"""Frames of MEGA's and RDN's clips against what the papers and the original say."""

import json
from collections import Counter

import numpy as np
import pytest

from mmdet.models.vid.window_plans import (
    LegacyWindowPlan,
    PastWindowPlan,
    WindowPlan,
    WindowTrainingPlan,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def frames(refs, role: str) -> list[int]:
    return [i for r, i in refs if r == role]


@pytest.mark.parametrize('length', [1, 5, 11, 13, 30])
def test_every_frame_enters_the_window_once_and_in_time(length):
    plan, present = WindowPlan(after=12, num_global=10), set()
    for t in range(length):
        refs = plan(t, length, rng())
        local = frames(refs, 'local')
        assert not set(local) & present and len(set(local)) == len(local)
        present |= set(local)
        assert present == set(range(min(t + plan.lookahead + 1, length)))
        assert bool(frames(refs, 'global')) == (t == 0)


@pytest.mark.parametrize('length', [1, 4, 10, 200])
def test_global_frames_are_different_and_from_the_whole_video(length):
    counts: Counter = Counter()
    for seed in range(300):
        chosen = frames(WindowPlan(12, 10, seed)(0, length, rng()), 'global')
        assert len(chosen) == len(set(chosen)) == min(10, length)
        assert all(0 <= i < length for i in chosen)
        counts.update(i * 4 // length for i in chosen)
    if length == 200:  # 3000 draws, a quarter in each quarter of the video; sigma is 24
        assert all(abs(counts[q] - 750) < 120 for q in range(4))


def test_global_frames_follow_the_seed():
    first, same, other = (
        WindowPlan(12, 10, seed)(0, 100, rng(i)) for i, seed in enumerate((0, 0, 1))
    )
    assert first == same != other


def test_legacy_order_is_what_the_original_opened(shared):
    golden = np.load(shared / 'golden/mega/mega_r50_v12.npz')
    plan, length = LegacyWindowPlan(after=12, num_global=10), len(golden['shuffled_index'])
    for step in json.loads(str(golden['log'])):
        t = step['step']
        # [current, the local frame at t + 12 (cut off), global ones...]
        opened = step['opened_by_dataset'][2:]
        assert frames(plan(t, length, rng()), 'global') == opened


def test_legacy_plan_starts_over_in_short_videos():
    plan = LegacyWindowPlan(after=2, num_global=5)
    first = frames(plan(0, 3, rng()), 'global')
    order = first[::-1][:3]
    assert sorted(order) == [0, 1, 2] and first == [order[i % 3] for i in (4, 3, 2, 1, 0)]
    assert plan(1, 3, rng()) == [('global', order[5 % 3])]
    assert frames(plan(0, 3, rng()), 'local') == [0, 1, 2]
    assert LegacyWindowPlan(2, 0)(1, 9, rng()) == [('local', 3)]


def test_the_past_alone_brings_the_key_frame():
    assert PastWindowPlan()(7, 0, rng()) == [('local', 7)]


@pytest.mark.parametrize(('frame', 'length'), [(0, 200), (100, 200), (199, 200), (3, 8)])
@pytest.mark.parametrize('reach', [12, 3])
def test_training_frames_lie_where_they_should(frame, length, reach):
    plan = WindowTrainingPlan(reach, num_local=2, num_memory=3, num_global=2)
    past, seen = max(frame - (25 if reach == 12 else 7), 0), Counter()
    for seed in range(200):
        refs = plan(frame, length, rng(seed))
        assert [role for role, _ in refs] == ['local'] * 2 + ['memory'] * 3 + ['global'] * 2
        assert all(0 <= i < length for _, i in refs)
        assert all(abs(i - frame) <= reach for i in frames(refs, 'local'))
        assert all(abs(i - past) <= reach for i in frames(refs, 'memory'))
        assert len(set(frames(refs, 'global'))) == 2
        seen.update(i - frame for i in frames(refs, 'local'))
    offsets = [o for o in range(-reach, reach + 1) if 0 <= frame + o < length]
    assert set(seen) == set(offsets)  # the key frame itself among them


def test_training_frames_are_cut_off_at_the_ends_and_not_drawn_again():
    at_start: Counter = Counter()
    for seed in range(1000):
        at_start.update(frames(WindowTrainingPlan(12)(0, 200, rng(seed)), 'local'))
    # 13 of 25 offsets end at frame 0: 1040 of 2000 draws, sigma 22
    assert abs(at_start[0] - 1040) < 110


@pytest.mark.parametrize(('frame', 'length'), [(-1, 1), (0, 1)])
def test_an_image_stands_for_all_its_frames(frame, length):
    refs = WindowTrainingPlan(12, 2, 3, 2)(frame, length, rng())
    assert len(refs) == 7 and {i for _, i in refs} == {frame}


def test_a_video_with_fewer_frames_than_global_ones():
    refs = WindowTrainingPlan(12, 2, 0, 4)(1, 3, rng())
    assert len(frames(refs, 'global')) == 4 and max(frames(refs, 'global')) < 3
