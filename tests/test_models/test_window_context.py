"""Which frames lie in MEGA's window and memory, told by rows that name their frame."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmdet.models.contexts import FrameRegions, WindowRelations
from mmdet.models.vid.window_plans import LegacyWindowPlan, PastWindowPlan, WindowPlan
from mmdet.plans import make_clip
from mmdet.structures import Clip, Frame

BEST, ALL, STAGES = 3, 5, [3, 2, 2]


def context(before: int = 12, after: int = 12, **settings) -> WindowRelations:
    aggregator = SimpleNamespace(kept_per_frame=lambda best: STAGES)
    head = SimpleNamespace(topk=BEST, aggregator=aggregator)
    settings = {'num_global': 10, 'memory_frames': 25, **settings}
    return WindowRelations(head, before, after, **settings)


def regions(frame: int, channels: int = 2) -> FrameRegions:
    """Every row of a frame is its number plus one, positive."""
    rows = torch.full((1, ALL, channels), frame + 1.0)
    valid = torch.ones(1, ALL, dtype=torch.bool)
    return FrameRegions.of(torch.full((1, ALL, 4), float(frame)), valid.float(), valid, rows)


def clip_of(plan, frame: int, length: int, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    return make_clip(plan, frame, length, rng, lambda i: Frame(str(i), frame_id=i))


def frames_in(rows: torch.Tensor, valid: torch.Tensor) -> Counter:
    """How often each frame is there; all of its regions are, or none."""
    assert (valid == valid[:, :1]).all()
    return Counter((rows[:, 0, 0][valid[:, 0]] - 1).int().tolist())


def run(ctx: WindowRelations, plan, length: int, channels: int = 2):
    """Yields at every frame: the window, the global frames, the three memories, the state."""
    state = ctx.init_state(torch.Generator().manual_seed(0))
    for t in range(length):
        clip = clip_of(plan, t, length)
        new = [regions(clip.frames[i].frame_id, channels) for i in ctx.places(clip)]
        own = ctx.slide(state, clip, FrameRegions.cat(new) if new else None)
        read = ctx.read(state)
        yield own, *(frames_in(read[i], read[i + 2]) for i in range(0, len(read), 3)), state
        window = ctx.keys(own, tuple(x[None] for x in read)).window
        written = [window.rows[:, :, :number] * 1.0 for number in STAGES]
        ctx.write([state], ctx.written(own, written))


@pytest.mark.parametrize('length', [1, 5, 30, 60])
def test_window_and_memory_hold_the_frames_of_the_specification(length):
    for t, (own, window, _, *memory, _) in enumerate(run(context(), WindowPlan(12, 10), length)):
        expected = range(max(0, t - 12), min(t + 12, length - 1) + 1)
        assert window == Counter(expected)
        left = Counter(range(max(0, t - 37), max(t - 12, 0)))  # t - 37 to t - 13
        assert memory == [left] * 3
        assert own.rows[0, 0, 0] == t + 1


def test_legacy_window_and_memory_count_the_ends_several_times():
    length, first = 60, LegacyWindowPlan(12, 10)(0, 60, None)[-1][1]
    seen = {}
    ctx = context(legacy=True)
    for t, (own, window, _, *memory, _) in enumerate(run(ctx, LegacyWindowPlan(12, 10), length)):
        places = [min(max(i, 0), length - 1) for i in range(t - 12, t + 13)]
        # a global frame stands for the first one
        assert window == Counter(first if i == 0 else i for i in places), t
        assert own.rows[0, 0, 0] == (first if t == 0 else t) + 1
        assert memory[0] == memory[1] == memory[2]
        seen[t] = set(memory[0])
        assert sum(memory[0].values()) == min(t, 25)
    # what the specification observed in the original
    assert seen[0] == set() and seen[2] == {first} and seen[14] == {first, 1}
    assert seen[40] == set(range(3, 28)) and seen[59] == set(range(22, 47))


def test_global_frames_stay_or_are_replaced_one_by_one():
    plan = WindowPlan(12, 10)
    chosen = Counter(i for role, i in plan(0, 40, np.random.default_rng(0)) if role == 'global')
    for _, _, globals_, *_ in run(context(), plan, 40):
        assert globals_ == chosen
    legacy, queue = LegacyWindowPlan(12, 10), []
    for t, (_, _, globals_, *_) in enumerate(run(context(legacy=True), legacy, 40)):
        queue += [i for role, i in legacy(t, 40, None) if role == 'global']
        assert globals_ == Counter(queue[-10:])


def test_the_past_alone_gives_a_window_that_ends_at_the_key_frame():
    ctx = context()
    for t, (_, window, globals_, *memory, state) in enumerate(run(ctx, PastWindowPlan(), 70)):
        assert window == Counter(range(max(0, t - 24), t + 1))
        assert memory[0] == Counter(range(max(0, t - 49), max(0, t - 24)))
        assert sum(globals_.values()) == min(t + 1, 10) == len(globals_)
        assert max(globals_) <= t and len(state.ahead) == 0


def test_global_frames_of_the_past_are_a_uniform_sample():
    ctx, counts = context(num_global=4, memory_frames=0), Counter()
    for seed in range(600):
        state = ctx.init_state(torch.Generator().manual_seed(seed))
        for t in range(16):
            ctx.slide(state, clip_of(PastWindowPlan(), t, 16), regions(t))
        counts.update(frames_in(*ctx.read(state)[3::2]))
    # 2400 draws, 150 of every frame; sigma is 10.6
    assert all(abs(counts[t] - 150) < 50 for t in range(16))


def bytes_of(state) -> int:
    tensors = [x for ring in (state.window, state.globals, *state.memory) for x in ring.tensors()]
    tensors += [x for frame in state.ahead.values() for x in frame.tensors()]
    return sum(x.untyped_storage().nbytes() for x in tensors)


@pytest.mark.parametrize('plan', [WindowPlan(12, 10), PastWindowPlan()], ids=['offline', 'causal'])
def test_memory_is_flat_over_3000_frames(plan):
    sizes = [bytes_of(state) for *_, state in run(context(), plan, 3000, channels=8)]
    assert len(set(sizes[:-13])) == 1 and max(sizes) == sizes[0]


@pytest.mark.parametrize('frames', [[3], [0, 2], [0, 1, 1], [0, 20]])
def test_frames_that_are_left_out_are_noticed(frames):
    ctx, plan = context(), WindowPlan(12, 10)
    state = ctx.init_state(torch.Generator())
    with pytest.raises(ValueError, match='one by one'):
        for t in frames:
            clip = clip_of(plan, t, 30)
            new = [regions(clip.frames[i].frame_id) for i in ctx.places(clip)]
            ctx.slide(state, clip, FrameRegions.cat(new) if new else None)
