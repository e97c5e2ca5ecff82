"""The memory of a TDViT: which frame is seen when, states of several videos, what is computed."""

import numpy as np
import pytest
import torch
from naive_swin import block_output
from test_swin import images
from test_tdvit import tiny
from torch import Tensor

from mmdet.models.backbones import TDViTTransformer
from mmdet.models.contexts.memory_sampling import SAMPLERS
from mmdet.models.contexts.temporal_memory import TemporalMemory, TemporalState

# ---- one reference of the remembered maps

HW = (5, 7)


def numbered(count: int, channels: int = 6) -> list[Tensor]:
    """Map t is t everywhere."""
    return [torch.full((HW[0] * HW[1], channels), float(t)) for t in range(count)]


def sample(name: str, maps: list[Tensor], seed: int = 0) -> Tensor:
    return SAMPLERS[name](maps, HW, torch.Generator().manual_seed(seed))


def test_nms_takes_the_first_of_the_largest_norms():
    """The norm of the whole map: one with a single huge token loses to many middling ones."""
    maps = [x * 0 + value for x, value in zip(numbered(4), (0, -2, 0, 2), strict=True)]
    maps[2][3, 4] = 20  # norm 20; of the others 2 * sqrt(210) = 29
    assert torch.equal(sample('nms', maps), maps[1])


def test_channel_shuffle_draws_a_map_per_channel():
    out = sample('channel_shuffle', numbered(8, channels=400), seed=3)
    assert (out == out[0]).all()  # the same for every token
    expected = torch.randint(8, (400,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(out[0], expected.float())


@pytest.mark.parametrize('count', [1, 2, 3, 4, 6, 16])
def test_patch_shuffle_draws_a_map_of_its_quarter_per_quadrant(count):
    quarters = [q.tolist() or list(range(count)) for q in np.array_split(range(count), 4)]
    seen = [set() for _ in quarters]
    for seed in range(60):
        grid = sample('patch_shuffle', numbered(count), seed)[:, 0].view(HW)
        quadrants = grid[:2, :3], grid[:2, 3:], grid[2:, :3], grid[2:, 3:]
        for quadrant, found in zip(quadrants, seen, strict=True):
            found.add(tuple(quadrant.unique().tolist()))
    assert [sorted(found) for found in seen] == [[(i,) for i in q] for q in quarters]


# ---- videos


def step(memory: TemporalMemory, frames: Tensor, states: list[TemporalState]) -> list[Tensor]:
    """Maps of the next frames [V, 3, h, w] of videos that are all new or all not."""
    with torch.inference_mode():
        known = [memory.admit(state, tuple(frames.shape[-2:])) for state in states]
        assert len(set(known)) == 1
        references = memory.references(states) if known[0] else None
        maps, kept = memory.backbone.remember(frames, references)
        memory.write(states, kept)
    return list(maps)


def new_states(memory: TemporalMemory, number: int) -> list[TemporalState]:
    return [memory.init_state(torch.Generator().manual_seed(seed)) for seed in range(number)]


def run(model: TDViTTransformer, frames: Tensor, seed: int = 0) -> list[list[Tensor]]:
    """Maps of every frame of one video [n, 3, h, w]."""
    memory = TemporalMemory(model)
    state = new_states(memory, seed + 1)[seed]
    return [step(memory, frame[None], [state]) for frame in frames]


def literal_maps(
    model: TDViTTransformer, frames: Tensor, hold: str | int, feature: str, joint: bool
) -> list[list[Tensor]]:
    """Maps per frame and level of a video [n, 3, h, w], all maps of all frames kept.

    Only blocks are taken apart; embedding and merging are the model's. A reference is drawn at
    frames 1, 1 + D, ... (with `hold` 1 at every frame), the earliest of the last D.
    """
    dilations = {(p.stage, p.index): p.dilation for p in model.temporal_blocks}
    kept: dict[tuple, list[Tensor]] = {place: [] for place in dilations}
    out = []
    for t, frame in enumerate(frames):
        x, hw = model.patch_embed(frame[None])
        maps = []
        for i, stage in enumerate(model.stages):
            for j, block in enumerate(stage.blocks):
                given, dilation = x, dilations.get((i, j))
                if t and dilation:
                    drawn = t - (t - 1) % (1 if hold == 1 else dilation)
                    seen = kept[i, j][max(0, drawn - dilation)]
                    x = block_output(block, x, hw, references=seen, joint=joint)
                else:
                    x = block(x, hw)
                if dilation:
                    kept[i, j].append(given if feature == 'input' else x)
            maps.append(getattr(model, f'norm{i}')(x[0]).T.unflatten(1, hw)[None])
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
        expected = literal_maps(model, frames, hold, feature, attention == 'joint')
    torch.testing.assert_close(run(model, frames), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize('memory', ['earliest', 'nms', 'channel_shuffle', 'patch_shuffle'])
def test_videos_in_one_batch_are_as_alone(memory):
    """They start at different frames, so their references are due at different times."""
    model, ahead = tiny(memory=memory, dilations=(2, 3)), [2, 1, 4]
    videos = [images(9, 3, 20, 28, seed=s) for s in range(3)]
    expected = [run(model, video, seed=s) for s, video in enumerate(videos)]
    together = TemporalMemory(model)
    states = new_states(together, 3)
    for v, n in enumerate(ahead):
        for t in range(n):
            step(together, videos[v][t][None], [states[v]])
    for t in range(5):
        batch = torch.stack([video[n + t] for video, n in zip(videos, ahead, strict=True)])
        each = [maps[n + t] for maps, n in zip(expected, ahead, strict=True)]
        wanted = [torch.cat(x) for x in zip(*each, strict=True)]
        torch.testing.assert_close(step(together, batch, states), wanted, rtol=0, atol=1e-5)


def test_another_size_or_other_weights_start_anew():
    model, frames, other = tiny(), images(3, 3, 20, 28), images(2, 3, 28, 20)
    memory = TemporalMemory(model)
    (state,) = new_states(memory, 1)
    for x in frames:
        step(memory, x[None], [state])
    for changed in (False, True):
        if changed:
            with torch.no_grad():
                model.stages[1].blocks[1].attn.w_msa.qkv.weight.mul_(1.5)
        found = [step(memory, x[None], [state]) for x in other]
        torch.testing.assert_close(found, run(model, other), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('memory', 'hold', 'maps'),
    [('earliest', 'D', [1, 1]), ('earliest', 1, [2, 3]), ('nms', 'D', [2, 3])],
)
def test_the_state_holds_what_the_strategy_needs_and_does_not_grow(memory, hold, maps):
    reader, sizes = TemporalMemory(tiny(memory=memory, hold=hold, dilations=(2, 3))), []
    states = new_states(reader, 2)
    for frame in images(12, 1, 3, 20, 28).expand(-1, 2, -1, -1, -1):
        step(reader, frame, states)
        held = [x for b in states[0].blocks for x in (*b.maps, b.reference) if x is not None]
        sizes.append(sum(x.untyped_storage().nbytes() for x in held))
    assert [len(b.maps) for b in states[0].blocks] == maps
    # a map has 5*7 and 3*4 tokens; keys and values those of 6 and 2 windows of 9
    numbers = maps[0] * 35 * 8 + maps[1] * 12 * 16 + 6 * 9 * 16 + 2 * 9 * 32
    assert sizes[6:] == [4 * numbers] * 6
