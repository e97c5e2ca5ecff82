"""Which frames MEGA and RDN take, and which lie in their window and memory, told by regions that
name their frame."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmdet.models.aggregators.regions import Regions
from mmdet.models.contexts import FrameRegions, WindowRelations
from mmdet.models.contexts.frame_ring import FrameRing
from mmdet.models.vid.window_plans import (
    LegacyWindowPlan,
    PastWindowPlan,
    WindowPlan,
    WindowTrainingPlan,
)
from mmdet.plans import make_clip
from mmdet.structures import Clip, Frame

BEST, ALL, STAGES = 3, 5, [3, 2, 2]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def of_role(refs, role: str) -> list[int]:
    return [i for r, i in refs if r == role]


# ---- plans


@pytest.mark.parametrize('length', [1, 5, 13, 30])
def test_every_frame_enters_the_window_once_and_in_time(length):
    plan, present = WindowPlan(after=12, num_global=10), []
    for t in range(length):
        refs = plan(t, length, rng())
        present += of_role(refs, 'local')
        assert present == list(range(min(t + plan.lookahead + 1, length)))
        assert bool(of_role(refs, 'global')) == (t == 0)
    assert PastWindowPlan()(7, 0, rng()) == [('local', 7)]


@pytest.mark.parametrize('length', [1, 4, 10, 200])
def test_global_frames_are_different_from_the_whole_video_and_follow_the_seed(length):
    counts, first = Counter(), set()
    for seed in range(300):
        chosen = of_role(WindowPlan(12, 10, seed)(0, length, rng()), 'global')
        assert chosen == of_role(WindowPlan(12, 10, seed)(0, length, rng(1)), 'global')
        assert len(set(chosen)) == len(chosen) == min(10, length)
        assert all(0 <= i < length for i in chosen)
        counts.update(i * 4 // length for i in chosen)
        first.add(chosen[0])
    if length == 200:  # 3000 draws, a quarter in each quarter of the video; sigma is 24
        assert len(first) > 100 and all(abs(counts[q] - 750) < 120 for q in range(4))


def test_legacy_order_is_what_the_original_opened(shared):
    golden = np.load(shared / 'golden/mega/mega_r50_v12.npz')
    plan, length = LegacyWindowPlan(after=12, num_global=10), len(golden['shuffled_index'])
    for step in json.loads(str(golden['log'])):
        # [current, the local frame at t + 12 (cut off), global ones...]
        opened = step['opened_by_dataset'][2:]
        assert of_role(plan(step['step'], length, rng()), 'global') == opened


def test_legacy_plan_starts_over_in_short_videos():
    plan = LegacyWindowPlan(after=2, num_global=5)
    first = of_role(plan(0, 3, rng()), 'global')
    order = first[::-1][:3]
    assert sorted(order) == [0, 1, 2] and first == [order[i % 3] for i in (4, 3, 2, 1, 0)]
    assert plan(1, 3, rng()) == [('global', order[5 % 3])]
    assert of_role(plan(0, 3, rng()), 'local') == [0, 1, 2]
    assert LegacyWindowPlan(2, 0)(1, 9, rng()) == [('local', 3)]


@pytest.mark.parametrize(('frame', 'length'), [(0, 200), (100, 200), (199, 200), (3, 8)])
@pytest.mark.parametrize('reach', [12, 3])
def test_training_frames_lie_where_they_should(frame, length, reach):
    plan = WindowTrainingPlan(reach, num_local=2, num_memory=3, num_global=2)
    past, seen = max(frame - (25 if reach == 12 else 7), 0), Counter()
    for seed in range(200):
        refs = plan(frame, length, rng(seed))
        assert [role for role, _ in refs] == ['local'] * 2 + ['memory'] * 3 + ['global'] * 2
        assert all(0 <= i < length for _, i in refs)
        assert all(abs(i - past) <= reach for i in of_role(refs, 'memory'))
        assert len(set(of_role(refs, 'global'))) == 2
        seen.update(i - frame for i in of_role(refs, 'local'))
    # the key frame itself among them
    assert set(seen) == {o for o in range(-reach, reach + 1) if 0 <= frame + o < length}
    if (frame, reach) == (0, 12):  # cut off, not drawn again: 13 of 25 offsets end at frame 0
        assert abs(seen[0] - 208) < 50  # of 400 draws; sigma is 10


@pytest.mark.parametrize(('frame', 'length'), [(-1, 1), (0, 1)])
def test_an_image_or_a_short_video_stands_for_all_its_frames(frame, length):
    refs = WindowTrainingPlan(12, 2, 3, 2)(frame, length, rng())
    assert len(refs) == 7 and {i for _, i in refs} == {frame}
    refs = WindowTrainingPlan(12, 2, 0, 4)(1, 3, rng())
    assert len(of_role(refs, 'global')) == 4 and max(of_role(refs, 'global')) < 3


# ---- slots of frames


def test_a_ring_has_slots_for_frames_with_more_and_fewer_regions_and_for_none():
    ring = FrameRing(4, 3)

    def put(number: int, regions: int, valid: int) -> list[list[float]]:
        """The first number of every region that exists, slot by slot."""
        rows = number * 10.0 + torch.arange(regions * 2.0).view(regions, 2)
        ring.put(number, Regions(rows, rows.repeat(1, 2), torch.arange(regions) < valid))
        return [r[v][:, 0].tolist() for r, _, v in zip(*ring.tensors(), strict=True)]

    ring.drop(3)  # before anything is there
    assert put(1, 5, 5) == [[], [10.0, 12.0, 14.0], [], []]
    assert put(2, 3, 1) == [[], [10.0, 12.0, 14.0], [20.0], []]
    assert put(5, 1, 1) == [[], [50.0], [20.0], []]
    assert ring.get(2).boxes[0].tolist() == [20.0, 21.0, 20.0, 21.0]
    ring.drop(6)
    assert put(0, 1, 1) == [[0.0], [50.0], [], []]


# ---- window and memory


def context(**settings) -> WindowRelations:
    aggregator = SimpleNamespace(kept_per_frame=lambda best: STAGES)
    head = SimpleNamespace(topk=BEST, aggregator=aggregator)
    return WindowRelations(head, 12, 12, **{'num_global': 10, 'memory_frames': 25, **settings})


def clip_of(plan, frame: int, length: int) -> Clip:
    return make_clip(plan, frame, length, rng(), lambda i: Frame(str(i), frame_id=i))


def new_frames(ctx: WindowRelations, clip: Clip) -> FrameRegions | None:
    """Every feature of a frame is its number plus one, positive."""
    ids = torch.tensor([float(clip.frames[i].frame_id) for i in ctx.places(clip)])[:, None, None]
    valid = torch.ones(len(ids), ALL, dtype=torch.bool)
    boxes, feats = ids.expand(-1, ALL, 4), ids.expand(-1, ALL, 2) + 1
    return FrameRegions.of(boxes, valid.float(), valid, feats) if len(ids) else None


def run(ctx: WindowRelations, plan, length: int):
    """Yields at every frame: its regions, the frames in the window, the global ones and the three
    memories, each with how often it is there, and the state."""
    state = ctx.init_state(torch.Generator().manual_seed(0))
    for t in range(length):
        clip = clip_of(plan, t, length)
        own, read = ctx.slide(state, clip, new_frames(ctx, clip)), ctx.read(state)
        yield own, *(frames_in(read[i], read[i + 2]) for i in range(0, len(read), 3)), state
        window = ctx.keys(own, tuple(x[None] for x in read)).window
        written = [window.roi_feats[:, :, :number] * 1.0 for number in STAGES]
        ctx.write([state], ctx.written(own, written))


def frames_in(feats: torch.Tensor, valid: torch.Tensor) -> Counter:
    """All regions of a frame are there, or none."""
    assert (valid == valid[:, :1]).all()
    return Counter((feats[:, 0, 0][valid[:, 0]] - 1).int().tolist())


@pytest.mark.parametrize('length', [1, 5, 60])
def test_window_and_memory_hold_the_frames_of_the_specification(length):
    plan = WindowPlan(12, 10)
    chosen = Counter(of_role(plan(0, length, rng()), 'global'))
    for t, (own, window, globals_, *memory, state) in enumerate(run(context(), plan, length)):
        assert window == Counter(range(max(0, t - 12), min(t + 12, length - 1) + 1))
        assert sorted(state.ahead) == list(range(t + 1, min(t + 12, length - 1) + 1))
        for x in [x for frame in state.ahead.values() for x in frame.tensors()]:
            assert x.untyped_storage().nbytes() == x.nbytes  # no view of the batch
        left = Counter(range(max(0, t - 37), max(t - 12, 0)))  # t - 37 to t - 13
        assert memory == [left] * 3 and own.roi_feats[0, 0, 0] == t + 1
        assert globals_ == chosen


def test_legacy_window_and_memory_count_the_ends_several_times():
    length, plan = 60, LegacyWindowPlan(12, 10)
    first, seen, queue = plan(0, length, None)[-1][1], {}, []
    frames = run(context(legacy=True), plan, length)
    for t, (own, window, globals_, *memory, _) in enumerate(frames):
        places = [min(max(i, 0), length - 1) for i in range(t - 12, t + 13)]
        # a global frame stands for the first one
        assert window == Counter(first if i == 0 else i for i in places), t
        assert own.roi_feats[0, 0, 0] == (first if t == 0 else t) + 1
        queue += of_role(plan(t, length, None), 'global')
        assert globals_ == Counter(queue[-10:])
        seen[t] = set(memory[0])
        assert memory == [memory[0]] * 3 and sum(memory[0].values()) == min(t, 25)
    # what the specification observed in the original
    assert seen[0] == set() and seen[2] == {first} and seen[14] == {first, 1}
    assert seen[40] == set(range(3, 28)) and seen[59] == set(range(22, 47))


def test_the_past_alone_gives_a_window_that_ends_at_the_key_frame():
    frames = run(context(), PastWindowPlan(), 70)
    for t, (_, window, globals_, *memory, state) in enumerate(frames):
        assert window == Counter(range(max(0, t - 24), t + 1))
        assert memory[0] == Counter(range(max(0, t - 49), max(0, t - 24)))
        assert sum(globals_.values()) == min(t + 1, 10) == len(globals_)
        assert max(globals_) <= t and len(state.ahead) == 0


def test_global_frames_of_the_past_are_a_uniform_sample():
    ctx, counts = context(num_global=4, memory_frames=0), Counter()
    clips = [clip_of(PastWindowPlan(), t, 16) for t in range(16)]
    for seed in range(600):
        state = ctx.init_state(torch.Generator().manual_seed(seed))
        for clip in clips:
            ctx.slide(state, clip, new_frames(ctx, clip))
        counts.update(frames_in(*ctx.read(state)[3::2]))
    # 2400 draws, 150 of every frame; sigma is 10.6
    assert all(abs(counts[t] - 150) < 50 for t in range(16))


@pytest.mark.parametrize('frames', [[3], [0, 2], [0, 1, 1], [0, 20]])
def test_frames_that_are_left_out_are_noticed(frames):
    ctx = context()
    state = ctx.init_state(torch.Generator())
    with pytest.raises(ValueError, match='one by one'):
        for t in frames:
            clip = clip_of(WindowPlan(12, 10), t, 30)
            ctx.slide(state, clip, new_frames(ctx, clip))
