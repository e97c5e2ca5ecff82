"""The memory of a TDViT: which frame is seen when, states of several videos, what is computed."""

import numpy as np
import pytest
import torch
from golden import load_json
from golden_tdvit import golden_backbone, golden_frames
from naive_tdvit import reference_frame, video_maps
from test_swin import images
from test_tdvit import tiny
from torch import Tensor, nn

from mmdet.models.backbones import SwinTransformer, TDViTTransformer
from mmdet.models.backbones.window_attention import WindowAttention
from mmdet.models.contexts.temporal_memory import TemporalMemory, TemporalState


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def step(
    memory: TemporalMemory,
    frames: Tensor,
    states: list[TemporalState],
) -> tuple[Tensor, ...]:
    """Maps of the next frames [V, 3, h, w] of videos that are all new or all not."""
    with torch.inference_mode():
        known = [memory.admit(state, tuple(frames.shape[-2:])) for state in states]
        assert len(set(known)) == 1
        references = memory.references(states) if known[0] else None
        maps, kept = memory.backbone.remember(frames, references)
        memory.write(states, kept)
    return maps


def run(model: TDViTTransformer, frames: Tensor, seed: int = 0) -> list[tuple[Tensor, ...]]:
    """Maps of every frame of one video [n, 3, h, w]."""
    memory = TemporalMemory(model)
    state = memory.init_state(generator(seed))
    return [step(memory, frame[None], [state]) for frame in frames]


def assert_same(a: list, b: list, atol: float = 1e-5) -> None:
    for left, right in zip(a, b, strict=True):
        for x, y in zip(left, right, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=atol)


# ---- the schedule


def test_the_frames_that_are_seen():
    seen = [reference_frame(t, 4, 'D') for t in range(20)]
    assert seen == [None, 0, 0, 0, 0, 1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9, 13, 13, 13]
    assert [reference_frame(t, 4, 1) for t in range(8)] == [None, 0, 0, 0, 0, 1, 2, 3]


def record(monkeypatch) -> list[int]:
    """Frame numbers, which are written into the maps as constants, as references are made."""
    made = []

    def keys_values(self, windows):
        made.append(round(windows[0, 0, 0].item()))
        return windows.repeat(1, 1, 2)

    monkeypatch.setattr(WindowAttention, 'keys_values', keys_values)
    return made


@pytest.mark.parametrize('hold', ['D', 1])
@pytest.mark.parametrize('dilation', [1, 2, 4, 8, 16, 32])
def test_a_waiting_map_is_as_good_as_the_queue(dilation, hold, monkeypatch):
    """The reference in use at each frame, read off maps that hold nothing but their number."""
    model = tiny(dilations=(dilation, 1), hold=hold)
    model.stages[0].blocks[1].norm1 = nn.Identity()
    made = record(monkeypatch)
    memory = TemporalMemory(model)
    state = memory.init_state(generator())
    sizes = model.map_sizes(24, 24)
    in_use = []
    for t in range(80):
        if memory.admit(state, (24, 24)):
            made.clear()
            memory.references([state])
            model_reference = state.blocks[0].reference
            in_use.append(round(model_reference[0, 0].item()))
        assert len(state.blocks[0].maps) <= (dilation if hold == 1 else 1)
        kept = [
            torch.full((1, h * w, c), float(t)) for (h, w), c in zip(sizes, (8, 16), strict=True)
        ]
        memory.write([state], kept)
    assert in_use == [reference_frame(t, dilation, hold) for t in range(1, 80)]


@pytest.mark.parametrize('attention', ['joint', 'cross'])
@pytest.mark.parametrize(('hold', 'feature'), [('D', 'input'), (1, 'input'), ('D', 'output')])
def test_a_video_equals_the_loop_that_keeps_every_map(attention, hold, feature):
    model = tiny(attention=attention, hold=hold, memory_feature=feature, dilations=(1, 3)).double()
    frames = images(8, 3, 20, 28).double()
    with torch.no_grad():
        expected = video_maps(model, frames, hold, feature, attention == 'joint')
    assert_same([[m[0] for m in maps] for maps in run(model, frames)], expected, atol=1e-9)


# ---- states


@pytest.mark.parametrize('attention', ['joint', 'cross'])
def test_the_first_frame_and_a_model_without_memory_are_the_plain_swin(attention):
    model = tiny(attention=attention)
    plain = SwinTransformer(
        embed_dims=8, depths=(2, 2), num_heads=(2, 4), out_indices=(0, 1), window_size=3
    ).eval()
    plain.load_state_dict(model.state_dict())
    frames = images(4, 3, 30, 40)
    with torch.inference_mode():
        expected = [plain(frame[None]) for frame in frames]
        alone = [model(frame[None]) for frame in frames]
    assert_same(alone, expected, atol=0)
    online = run(model, frames)
    assert_same(online[:1], expected[:1], atol=0)
    for t in (1, 2, 3):
        assert (online[t][0] - expected[t][0]).norm() > 0.01 * expected[t][0].norm()


MEMORIES = ['earliest', 'nms', 'channel_shuffle', 'patch_shuffle']


@pytest.mark.parametrize('memory', MEMORIES)
def test_videos_in_one_batch_are_as_alone(memory):
    """They start at different frames, so their references are due at different times."""
    model = tiny(memory=memory, dilations=(2, 3))
    videos = [images(9, 3, 20, 28, seed=s) for s in range(3)]
    expected = [run(model, video, seed=s) for s, video in enumerate(videos)]
    together = TemporalMemory(model)
    states = [together.init_state(generator(s)) for s in range(3)]
    ahead = [2, 1, 4]
    found = [
        [step(together, videos[v][t][None], [states[v]]) for t in range(n)]
        for v, n in enumerate(ahead)
    ]
    for t in range(5):
        batch = torch.stack([video[n + t] for video, n in zip(videos, ahead, strict=True)])
        maps = step(together, batch, states)
        for v in range(3):
            found[v].append(tuple(level[v : v + 1] for level in maps))
    for v, n in enumerate(ahead):
        assert_same(found[v], expected[v][: n + 5])


def test_another_size_or_other_weights_start_anew():
    model, frames = tiny(), images(3, 3, 20, 28)
    memory = TemporalMemory(model)
    state = memory.init_state(generator())
    step(memory, frames[:1], [state])
    step(memory, frames[1:2], [state])
    other = images(2, 3, 28, 20)
    assert_same([step(memory, x[None], [state]) for x in other], run(model, other), atol=0)
    step(memory, other[:1], [state])
    with torch.no_grad():
        model.stages[1].blocks[1].attn.w_msa.qkv.weight.mul_(1.5)
    assert_same([step(memory, x[None], [state]) for x in other], run(model, other), atol=0)


@pytest.mark.parametrize(
    ('memory', 'hold', 'maps'),
    [('earliest', 'D', [1, 1]), ('earliest', 1, [2, 3]), ('nms', 'D', [2, 3])],
)
def test_the_state_holds_what_the_strategy_needs_and_does_not_grow(memory, hold, maps):
    model = tiny(memory=memory, hold=hold, dilations=(2, 3))
    reader = TemporalMemory(model)
    states = [reader.init_state(generator()) for _ in range(2)]
    sizes = []
    for frame in images(12, 1, 3, 20, 28).expand(-1, 2, -1, -1, -1):
        step(reader, frame, states)
        held = [x for b in states[0].blocks for x in (*b.maps, b.reference) if x is not None]
        sizes.append(sum(x.untyped_storage().nbytes() for x in held))
    assert [len(b.maps) for b in states[0].blocks] == maps
    assert len(set(sizes[6:])) == 1
    # A map has 5*7 and 3*4 tokens; keys and values those of 6 and 2 windows of 9.
    tokens = [n * t * c for n, t, c in zip(maps, (35, 12), (8, 16), strict=True)]
    assert sizes[-1] == 4 * (sum(tokens) + 6 * 9 * 16 + 2 * 9 * 32)


def test_projections_of_a_reference_are_made_when_one_is_due_and_not_between(monkeypatch):
    """Frames 1, 4, 7, ... of a block that looks 3 frames back; cross makes no keys of its own."""
    model, calls = tiny(attention='cross', dilations=(3, 3)), []
    original = WindowAttention._project

    def project(self, windows, outputs):
        calls.append((outputs.start, outputs.stop))
        return original(self, windows, outputs)

    monkeypatch.setattr(WindowAttention, '_project', project)
    memory = TemporalMemory(model)
    state = memory.init_state(generator())
    counts = []
    for frame in images(9, 3, 20, 28):
        calls.clear()
        step(memory, frame[None], [state])
        counts.append(sum(start is not None for start, _ in calls))
        assert sum(start is None for start, _ in calls) == (2 if len(counts) > 1 else 0)
    assert counts == [0, 2, 0, 0, 2, 0, 0, 2, 0]


# ---- the reference implementation


@pytest.mark.parametrize('attention', ['joint', 'cross'])
def test_maps_are_those_of_the_reference_implementation(attention, shared):
    name = f'golden/vfe2/tdvit_t_{attention}.checks'
    values = np.load(shared / f'{name}.npz')
    found = run(golden_backbone(shared, attention), golden_frames(shared)[:6])
    for t in (0, 5):
        numbers = load_json(shared / f'{name}.json')['frames'][f'A{t}']['backbone']
        for i, level in enumerate(found[t]):
            flat = level.flatten()
            key = f'A{t}.backbone.{i}'
            strided = flat[:: max(1, len(flat) // 256)][:256]
            np.testing.assert_allclose(strided, values[f'{key}.strided'], rtol=0, atol=2e-5)
            np.testing.assert_allclose(flat[:64], values[f'{key}.first'], rtol=0, atol=2e-5)
            assert list(level.shape) == numbers[i]['shape']
            assert level.double().norm().item() == pytest.approx(numbers[i]['l2'], rel=1e-6)


def test_references_are_those_of_the_reference_implementation(shared):
    model = TDViTTransformer()
    frames = load_json(shared / 'golden/vfe2/tdvit_t_joint.checks.json')['frames']
    for key, checks in frames.items():
        video, t = key[0], int(key[1:])
        expected = {}
        for place in model.temporal_blocks:
            source = reference_frame(t, place.dilation, 'D')
            name = f'stages.{place.stage}.blocks.{place.index}'
            expected[name] = 'self' if source is None else f'{video}{source}'
        assert checks['refs'] == expected
