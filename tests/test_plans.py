"""Plans: golden frame ids, the sets of frames that may be drawn written out, hand-made cases."""

import json
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from mmdet import plans
from mmdet.core.errors import ConfigError
from mmdet.plans import SamplerPlan, make_clip, past_window, sampler_plan
from mmdet.stage_plans import StagePlan
from mmdet.structures import Frame

LENGTHS = dict(A=12, B=8, C=6)  # of the golden videos
RNG = np.random.default_rng(0)
WINDOW = dict(method='test_with_fix_stride', num_ref_imgs=5, frame_range=[-2, 3], stride=2)
SPREAD = dict(method='test_with_adaptive_stride', num_ref_imgs=4, frame_range=[-2, 2])


def refs_in_testing(sampler: SamplerPlan, length: int) -> list[list[int]]:
    return [sampler.frame_ids(f, length, RNG) for f in range(length)]


def possible(sampler: SamplerPlan, frame_id: int, length: int, draws: int = 1500) -> Counter:
    rng = np.random.default_rng(frame_id)
    return Counter(tuple(sampler.frame_ids(frame_id, length, rng)) for _ in range(draws))


def around(key: int, low: int, high: int, length: int, with_key: bool = False) -> list[int]:
    frames = range(max(0, key + low), min(length - 1, key + high) + 1)
    return [f for f in frames if with_key or f != key]


# ---- samplers


def test_frames_are_those_of_1x(shared):
    golden = json.loads((shared / 'golden/train/data.json').read_text())
    names = [name for name in golden if name.startswith('test_with_fix_stride')]
    assert len(names) == 3
    for name in names:
        sampler = SamplerPlan(**golden[name]['sampler'], method='test_with_fix_stride')
        meta = golden[name]['img_info_meta']
        assert (-sampler.low, sampler.stride) == (meta['num_left_ref_imgs'], meta['frame_stride'])
        for video, refs in golden[name]['per_frame'].items():
            assert refs_in_testing(sampler, LENGTHS[video]) == refs
    for name, expected in golden['test_with_adaptive_stride_other'].items():
        number = int(name.removeprefix('num_ref_imgs_'))
        sampler = SamplerPlan([0, number], number, method='test_with_adaptive_stride')
        for video, refs in expected.items():
            assert refs_in_testing(sampler, LENGTHS[video])[0] == refs
    ranges = golden['train_bilateral_uniform']
    ranges.pop('note')
    for name, expected in ranges.items():
        number = int(name.split('_')[1])
        sampler = SamplerPlan(number, 2, 'no_filter' not in name, 'bilateral_uniform')
        for place, facts in expected.items():
            video, frame = place.split('/')
            seen = possible(sampler, int(frame), LENGTHS[video])
            assert set(seen) == set(map(tuple, facts['possible_pairs'])), (name, place)


@pytest.mark.parametrize('with_key', [True, False])
@pytest.mark.parametrize('frame_id', [0, 4, 6])
def test_training_draws_every_set_that_it_may(frame_id, with_key):
    candidates = around(frame_id, -2, 3, 7, with_key)
    seen = possible(SamplerPlan([-2, 3], 2, not with_key, 'uniform'), frame_id, 7)
    assert set(seen) == set(combinations(candidates, 2))
    assert max(seen.values()) < 2.2 * min(seen.values())  # equally often
    before = [f for f in candidates if f <= frame_id]
    after = [f for f in candidates if f >= frame_id]
    pairs = set(product(before, after)) if before and after else {(f, f) for f in before + after}
    sampler = SamplerPlan([-2, 3], 2, not with_key, 'bilateral_uniform')
    assert set(possible(sampler, frame_id, 7)) == pairs


def test_short_sides_give_what_they_have():
    ids = SamplerPlan(5, 6, method='bilateral_uniform').frame_ids(1, 9, np.random.default_rng(0))
    assert ids[:3] == [0] * 3 and len(set(ids[3:])) == 3 and set(ids[3:]) < {2, 3, 4, 5, 6}
    assert SamplerPlan(0, 2, method='uniform').frame_ids(4, 9, RNG) == [4, 4]
    assert SamplerPlan(2, 2, method='uniform').frame_ids(-1, 9, RNG) == [-1, -1]  # an image
    half = SamplerPlan([-1, 2], 3, method='test_with_adaptive_stride')
    assert refs_in_testing(half, 6)[0] == [0, 2, 5]  # 2.5 rounds to the even number


def test_number_of_test_references_is_that_of_the_range(monkeypatch):
    messages = []
    monkeypatch.setattr(plans, 'print_log', lambda text, **_: messages.append(text))
    sampler = SamplerPlan([-7, 7], 28, method='test_with_adaptive_stride')
    assert refs_in_testing(sampler, 40) == [list(range(0, 40, 3)), *[[]] * 39]
    SamplerPlan([-7, 7], 14, method='test_with_adaptive_stride')
    assert len(messages) == 1 and '[-7, 7]' in messages[0] and 'num_ref_imgs=28' in messages[0]


# ---- plans


def prompt_of_first(ids: list[int]) -> list[tuple[str, int]]:
    return [('ref' if i else 'prompt', frame) for i, frame in enumerate(ids)]


def test_roles_of_a_plan():
    """References by default, a window where one slides, and what a method makes of them."""
    spread, window = sampler_plan(SPREAD), sampler_plan(WINDOW)
    assert spread(0, 10, RNG) == [('ref', i) for i in (0, 3, 6, 9)]
    assert window(0, 10, RNG) == [('window', i) for i in (0, 0, 0, 2, 4, 6)]
    assert window(1, 10, RNG) == [] and window(2, 10, RNG) == [('window', 8)]
    prompted = sampler_plan(SPREAD, prompt_of_first)
    assert prompted(0, 10, RNG) == [('prompt', 0), ('ref', 3), ('ref', 6), ('ref', 9)]
    prompted = sampler_plan(WINDOW, prompt_of_first)
    assert prompted(0, 10, RNG) == [*window(0, 10, RNG), ('prompt', 0)]
    assert prompted(2, 10, RNG) == [('window', 8)]


@pytest.mark.parametrize(
    ('config', 'in_order', 'lookahead'),
    [
        (WINDOW, True, 6),
        (SPREAD, False, 0),
        (dict(method='combined', samplers=[SPREAD, WINDOW]), True, 6),
    ],
)
def test_order_and_lookahead(config, in_order, lookahead):
    plan = sampler_plan(config)
    assert (plan.in_order, plan.lookahead) == (in_order, lookahead)
    for key in range(1, 30) if in_order else ():
        assert all(i <= key + lookahead for _, i in plan(key, 30, RNG))


@pytest.mark.parametrize(
    ('config', 'refs', 'stride'), [(WINDOW, 5, 2), (SPREAD, 4, 10), (None, 14, 10)]
)
def test_the_window_of_the_past(config, refs, stride):
    plan = past_window(config, prompt_of_first)
    assert plan.in_order and plan.lookahead == 0
    roles = ['window'] * (refs + 1) + ['prompt']
    assert plan(0, 1, RNG) == [(role, 0) for role in roles]
    for key in range(1, 41):
        assert plan(key, key + 1, RNG) == [('window', key)] * (key % stride == 0)


def test_a_clip_has_the_frames_of_its_plan():
    stages = dict(method='stagewise_uniform', frame_range=[[1, 1], [-2, -2]])
    clip = make_clip(sampler_plan(stages), 5, 9, RNG, lambda i: Frame('', frame_id=i))
    assert [(f.role, f.frame_id) for f in clip.frames] == [('key', 5), ('stage1', 6), ('stage2', 3)]
    one = Frame('same.jpg')  # a source may hand out the same frame every time
    clip = make_clip(SamplerPlan(0, 2), 0, 1, RNG, lambda _: one)
    assert [f.role for f in clip.frames] == ['key', 'ref', 'ref']
    assert len({id(frame) for frame in clip.frames}) == 3


# ---- one reference per stage


def check(plan: StagePlan, key: int, length: int, expected: list[set[int]]) -> None:
    """Exactly these frames are drawn for the stages, each about as often as the others."""
    rng, names = np.random.default_rng(0), [f'stage{s + 1}' for s in range(len(expected))]
    drawn = [plan(key, length, rng) for _ in range(400)]
    for i, frames in enumerate(expected):
        counts = Counter(refs[i] for refs in drawn)
        assert set(counts) == {(names[i], frame) for frame in frames}
        mean = 400 / len(frames)
        assert all(abs(n - mean) < 5 * mean**0.5 for n in counts.values())


@pytest.mark.parametrize('key', [0, 20, 59])
def test_windows_and_rings_of_the_stages(key):
    reach = [2, 4, 8, 16]
    plan = StagePlan('stagewise_uniform', reach)
    check(plan, key, 60, [set(around(key, -d, d, 60)) for d in reach])
    plan = StagePlan('stagewise_ring', [5, 10, 19, 30])
    bounds = ((1, 5), (6, 10), (11, 19), (20, 30))
    check(plan, key, 60, [{f for f in range(60) if a <= abs(f - key) <= b} for a, b in bounds])


@pytest.mark.parametrize(('method', 'ranges', 'key', 'length', 'expected'), [
    ('uniform', [[-7, -4], [-15, -8]], 30, 60, [{23, 24, 25, 26}, set(range(15, 23))]),
    ('uniform', [[-7, -4], [-15, -8]], 5, 60, [{0, 1}, {0}]),  # the nearest frame
    ('uniform', [[4, 7]], 58, 60, [{59}]),
    ('ring', [4, 8], -1, 1, [{-1}, {-1}]),  # an image is its own reference
])  # fmt: skip
def test_stages_that_look_out_of_the_video(method, ranges, key, length, expected):
    check(StagePlan(f'stagewise_{method}', ranges), key, length, expected)


# ---- mistakes


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(frame_range=9, method='bilateral'), "'bilateral'.*mean 'bilateral_u"),
        (dict(frame_range=[1, 2]), r'frame_range must be.*\[1, 2\]'),
        (dict(frame_range=3, num_ref_imgs=0), 'num_ref_imgs must be an integer of at least 1'),
        (dict(frame_range=3, num_ref_imgs=3, method='bilateral_uniform'), 'must be even, not 3'),
        (dict(method='combined'), 'has a list of `samplers`'),
        (dict(method='stagewise_uniform', frame_range=4), 'one per stage'),
        (dict(method='stagewise_ring', frame_range=[5, 5]), 'ascending outer radii'),
    ],
)
def test_errors_say_what_is_legal(arguments, message):
    with pytest.raises(ConfigError, match=message):
        sampler_plan(arguments)
    with pytest.raises(TypeError, match='ref_img_sampler'):
        sampler_plan(dict(frame_rnge=3))
