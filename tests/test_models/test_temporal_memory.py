"""The memory of a TDViT: which frame is seen when, states of several videos, what is computed."""

import pytest
import torch
from naive_swin import block_output
from test_swin import images
from test_tdvit import tiny
from torch import Tensor

from mmdet.models.backbones import TDViTTransformer
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


def reference_frame(t: int, dilation: int, hold: str | int) -> int | None:
    """The frame whose map frame t sees with the earliest of `dilation` maps; None: its own."""
    if t == 0:
        return None
    period = 1 if hold == 1 else dilation
    drawn = t - (t - 1) % period
    return max(0, drawn - dilation)


def video_maps(
    model: TDViTTransformer, frames: Tensor, hold: str | int, feature: str, joint: bool
) -> list[list[Tensor]]:
    """Maps [C, H, W] per frame and level of a video [n, 3, h, w], all maps of all frames kept.

    Only blocks are taken apart; embedding and merging are the model's.
    """
    dilations = {(p.stage, p.index): p.dilation for p in model.temporal_blocks}
    kept: dict[tuple, list[Tensor]] = {place: [] for place in dilations}
    out = []
    for t, frame in enumerate(frames):
        x, hw = model.patch_embed(frame[None])
        maps = []
        for i, stage in enumerate(model.stages):
            for j, block in enumerate(stage.blocks):
                given = x[0]
                source = None
                if (i, j) in dilations:
                    source = reference_frame(t, dilations[i, j], hold)
                if source is None:
                    x = block(x, hw)
                else:
                    seen = kept[i, j][source][None]
                    x = block_output(block, x, hw, references=seen, joint=joint)
                if (i, j) in dilations:
                    kept[i, j].append(given if feature == 'input' else x[0])
            if i in model.out_indices:
                maps.append(getattr(model, f'norm{i}')(x[0]).T.unflatten(1, hw))
            if stage.downsample is not None:
                x, hw = stage.downsample(x, hw)
        out.append(maps)
    return out


@pytest.mark.parametrize('attention', ['joint', 'cross'])
@pytest.mark.parametrize(('hold', 'feature'), [('D', 'input'), (1, 'input'), ('D', 'output')])
def test_a_video_equals_the_loop_that_keeps_every_map(attention, hold, feature):
    model = tiny(attention=attention, hold=hold, memory_feature=feature, dilations=(1, 3)).double()
    frames = images(8, 3, 20, 28).double()
    with torch.no_grad():
        expected = video_maps(model, frames, hold, feature, attention == 'joint')
    assert_same([[m[0] for m in maps] for maps in run(model, frames)], expected, atol=1e-9)


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
