"""Plans and their samplers: golden frame ids, naive enumeration and hand-made cases."""

import json
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from mmdet import plans
from mmdet.core.errors import ConfigError
from mmdet.plans import RefSampler, SamplerPlan, make_clip, past_window, sampler_plan
from mmdet.structures import Frame

LENGTHS = dict(A=12, B=8, C=6)
RNG = np.random.default_rng(0)


def refs_in_testing(sampler: RefSampler, length: int) -> list[list[int]]:
    return [sampler(f, length, RNG, pad=False) for f in range(length)]


def possible(sampler: RefSampler, frame_id: int, length: int, draws: int = 1500) -> Counter:
    rng = np.random.default_rng(frame_id)
    return Counter(tuple(sampler(frame_id, length, rng)) for _ in range(draws))


def test_adaptive_stride_spreads_over_the_video():
    sampler = RefSampler([-7, 7], 14, method='test_with_adaptive_stride')
    refs = refs_in_testing(sampler, 40)
    # round(i * 3), and nothing after the first frame
    assert refs[0] == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39]
    assert refs[1:] == [[]] * 39
    assert refs_in_testing(sampler, 1) == [[0] * 14]
    assert refs_in_testing(sampler, 5)[0] == [round(i * 4 / 13) for i in range(14)]
    half = RefSampler([-1, 2], 3, method='test_with_adaptive_stride')
    assert refs_in_testing(half, 6)[0] == [0, 2, 5]  # 2.5 rounds to the even number
    assert sampler.window is None


def test_fix_stride_slides_a_window():
    sampler = RefSampler([-2, 3], 5, method='test_with_fix_stride', stride=2)
    assert sampler.window == (2, 2)
    refs = refs_in_testing(sampler, 10)
    assert refs[0] == [0, 0, 0, 2, 4, 6]
    assert refs[1:] == [[], [8], [], [9], [], [9], [], [9], []]
    assert refs_in_testing(sampler, 1) == [[0] * 6]


def naive_uniform(f, length, low, high, filter_key):
    frames = range(max(f + low, 0), min(f + high, length - 1) + 1)
    return [g for g in frames if not (filter_key and g == f)]


@pytest.mark.parametrize('filter_key', [True, False])
@pytest.mark.parametrize('frame_id', [0, 1, 4, 6])
def test_uniform_draws_every_set_equally_often(frame_id, filter_key):
    sampler = RefSampler([-2, 3], 2, filter_key, 'uniform')
    candidates = naive_uniform(frame_id, 7, -2, 3, filter_key)
    seen = possible(sampler, frame_id, 7)
    expected = set(combinations(candidates, 2))
    assert set(seen) == expected
    assert max(seen.values()) < 2.2 * min(seen.values())


@pytest.mark.parametrize('filter_key', [True, False])
@pytest.mark.parametrize('frame_id', [0, 1, 3, 5])
def test_bilateral_draws_from_each_side(frame_id, filter_key):
    sampler = RefSampler(2, 2, filter_key, 'bilateral_uniform')
    candidates = naive_uniform(frame_id, 6, -2, 2, filter_key)
    before = [g for g in candidates if g <= frame_id]
    after = [g for g in candidates if g >= frame_id]
    expected = set(product(before, after)) if before and after else {(g, g) for g in before + after}
    assert set(possible(sampler, frame_id, 6)) == expected


def test_short_sides_give_what_they_have():
    sampler = RefSampler(5, 6, method='bilateral_uniform')
    refs = sampler(1, 9, np.random.default_rng(0), pad=False)
    assert refs[0] == 0 and len(refs) == 4 and set(refs[1:]) < {2, 3, 4, 5, 6}
    rng = np.random.default_rng(0)
    padded = sampler(1, 9, rng)
    assert padded == [0, 0, *refs]  # with the first one that was drawn, here of the left side
    assert sampler(0, 1, rng) == [0] * 6 and sampler(0, 1, rng, pad=False) == []


@pytest.mark.parametrize('method', sorted(plans.METHODS))
@pytest.mark.parametrize('pad', [True, False])
def test_no_range_or_no_frame_repeats_the_key(method, pad):
    sampler = RefSampler(0, 2, method=method)
    assert sampler(4, 9, RNG, pad) == [4, 4]
    assert RefSampler([-1, 1], 2, method=method)(-1, 9, RNG, pad) == [-1, -1]


def test_number_of_test_references_is_that_of_the_range(monkeypatch):
    messages = []
    monkeypatch.setattr(plans, 'print_log', lambda text, **_: messages.append(text))
    sampler = RefSampler([-7, 7], 28, method='test_with_adaptive_stride')
    assert len(refs_in_testing(sampler, 50)[0]) == 14
    assert len(messages) == 1 and '[-7, 7]' in messages[0] and 'num_ref_imgs=28' in messages[0]
    RefSampler([-7, 7], 14, method='test_with_adaptive_stride')
    assert len(messages) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            dict(frame_range=9, method='bilateral'),
            "'bilateral'.*mean 'bilateral_u",
        ),
        (dict(frame_range=-1), 'frame_range must be'),
        (dict(frame_range=[1, 2]), r'frame_range must be.*\[1, 2\]'),
        (dict(frame_range=[-1.5, 2]), 'frame_range must be'),
        (dict(frame_range=3, num_ref_imgs=0), 'num_ref_imgs must be an integer of at least 1'),
        (dict(frame_range=3, stride=0, method='test_with_fix_stride'), 'stride must be'),
        (dict(frame_range=3, num_ref_imgs=3, method='bilateral_uniform'), 'must be even, not 3'),
        (dict(frame_range=[0, 1], method='test_with_adaptive_stride'), 'at least 2, not 1'),
    ],
)
def test_errors_say_what_is_legal(arguments, message):
    with pytest.raises(ConfigError, match=message):
        RefSampler(**arguments)


# ---- plans


WINDOW = dict(method='test_with_fix_stride', num_ref_imgs=5, frame_range=[-2, 3], stride=2)
SPREAD = dict(method='test_with_adaptive_stride', num_ref_imgs=4, frame_range=[-2, 2])


def prompt_of_first(ids: list[int]) -> list[tuple[str, int]]:
    return [('ref' if i else 'prompt', frame) for i, frame in enumerate(ids)]


def test_roles_of_a_plan():
    """References by default, a window where one slides, and what a method makes of them."""
    assert sampler_plan(None) is None
    spread, window = sampler_plan(SPREAD), sampler_plan(WINDOW)
    assert spread(0, 10, RNG) == [('ref', i) for i in (0, 3, 6, 9)]
    assert window(0, 10, RNG) == [('window', i) for i in (0, 0, 0, 2, 4, 6)]
    assert window(1, 10, RNG) == [] and window(2, 10, RNG) == [('window', 8)]
    train = sampler_plan(dict(method='uniform', num_ref_imgs=3, frame_range=2))
    assert train(0, 1, RNG) == [('ref', 0)] * 3 and spread(3, 9, RNG) == []  # filled up, or not
    assert train(-1, 1, RNG) == [('ref', -1)] * 3  # an image is its own reference
    with pytest.raises(TypeError, match='ref_img_sampler'):
        sampler_plan(dict(frame_rnge=3))
    prompted = sampler_plan(SPREAD, prompt_of_first)
    assert prompted(0, 10, RNG) == [('prompt', 0), ('ref', 3), ('ref', 6), ('ref', 9)]
    prompted = sampler_plan(WINDOW, prompt_of_first)
    assert prompted(0, 10, RNG) == [*window(0, 10, RNG), ('prompt', 0)]
    assert prompted(2, 10, RNG) == [('window', 8)]


@pytest.mark.parametrize(
    ('config', 'in_order', 'lookahead'),
    [
        (WINDOW, True, 6),
        (dict(WINDOW, frame_range=[-5, 0]), True, 0),
        (SPREAD, False, 0),
        (dict(method='uniform', frame_range=4), False, 0),
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
    plan = past_window(config)
    assert plan.in_order and plan.lookahead == 0
    assert plan(0, 1, RNG) == [('window', 0)] * (refs + 1)
    for key in range(1, 41):
        assert plan(key, key + 1, RNG) == [('window', key)] * (key % stride == 0)
    roles = past_window(config, prompt_of_first)(0, 1, RNG)
    assert [role for role, _ in roles] == ['window'] * (refs + 1) + ['prompt']


def test_a_clip_has_the_frames_of_its_plan():
    made = []

    def frame_of(i: int) -> Frame:
        made.append(Frame(f'{i}.jpg', frame_id=i))
        return made[-1]

    clip = make_clip(sampler_plan(SPREAD), 0, 10, RNG, frame_of)
    assert [(f.role, f.frame_id) for f in clip.frames] == [
        ('key', 0), ('ref', 0), ('ref', 3), ('ref', 6), ('ref', 9)
    ]  # fmt: skip
    assert clip.places('ref') == [1, 2, 3, 4] and clip.places('key', 'window') == [0]
    one = Frame('same.jpg')  # a source may hand out the same frame every time
    clip = make_clip(SamplerPlan(RefSampler(0, 2)), 0, 1, RNG, lambda _: one)
    assert [f.role for f in clip.frames] == ['key', 'ref', 'ref'] and len(
        set(map(id, clip.frames))
    ) == 3
    assert len(make_clip(None, 4, 9, RNG, frame_of).frames) == 1


def test_golden(shared):
    golden = json.loads((shared / 'golden/train/data.json').read_text())
    names = [name for name in golden if name.startswith('test_with_fix_stride')]
    assert len(names) == 3
    for name in names:
        config = golden[name]['sampler']
        sampler = RefSampler(**config, method='test_with_fix_stride')
        meta = golden[name]['img_info_meta']
        assert sampler.window == (meta['num_left_ref_imgs'], meta['frame_stride'])
        for video, refs in golden[name]['per_frame'].items():
            assert refs_in_testing(sampler, LENGTHS[video]) == refs
    for name, expected in golden['test_with_adaptive_stride_other'].items():
        number = int(name.removeprefix('num_ref_imgs_'))
        sampler = RefSampler([0, number], number, method='test_with_adaptive_stride')
        for video, refs in expected.items():
            assert refs_in_testing(sampler, LENGTHS[video])[0] == refs
    ranges = golden['train_bilateral_uniform']
    for name, expected in ranges.items():
        if name == 'note':
            continue
        number = int(name.split('_')[1])
        sampler = RefSampler(number, 2, 'no_filter' not in name, 'bilateral_uniform')
        for place, facts in expected.items():
            video, frame = place.split('/')
            seen = possible(sampler, int(frame), LENGTHS[video])
            assert set(seen) == set(map(tuple, facts['possible_pairs'])), (name, place)
