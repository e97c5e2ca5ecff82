"""The TDViT backbone: blocks, training, the memory of videos, layout and weights.

test_golden.py compares a training step and videos with another implementation.
"""

import pytest
import torch
from naive_swin import block_output
from test_swin import TINY, assert_same_function, images, randomise
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import SwinTransformer, TDViTTransformer
from mmdet.models.contexts.temporal_memory import TemporalMemory, TemporalState
from mmdet.registry import MODELS

THREE = dict(depths=(2, 3, 4), num_heads=(2, 4, 4), out_indices=(0, 1, 2), dilations=(1, 2, 3))


def tiny(seed: int = 0, **settings) -> TDViTTransformer:
    model = MODELS.build(dict(type='TDViTTransformer', **{**TINY, 'dilations': (2, 3), **settings}))
    return randomise(model, seed).eval()


@pytest.mark.parametrize('hw', [(6, 9), (5, 7)])
@pytest.mark.parametrize('shift', [0, 1])
@pytest.mark.parametrize('attention', ['joint', 'cross'])
def test_a_temporal_block_equals_the_loop_over_its_windows(attention, shift, hw):
    """With its gradients, those that come through the reference's keys and values included."""
    # the last two of four are temporal, odd ones are shifted
    block = tiny(attention=attention, depths=(4, 2)).stages[0].blocks[2 + shift].double()
    assert block.attn.shift == shift
    x, other = (images(2, hw[0] * hw[1], 8, seed=s).double().requires_grad_() for s in (0, 5))
    expected = block_output(block, x, hw, references=other, joint=attention == 'joint')
    assert_same_function(
        lambda: block(x, hw, reference=block.keys_values(other, hw)), expected, [x, other], block
    )


# ---- training


def test_no_gradient_reaches_references_and_no_mode_changes():
    model = tiny(**THREE, drop_path_rate=0.5, frozen_stages=1).train()
    modes = {name: m.training for name, m in model.named_modules()}
    refs = images(1, 3, 3, 20, 28).requires_grad_()
    maps = model.train_maps(images(1, 3, 20, 28), refs)
    sum(m.square().sum() for m in maps).backward()
    assert refs.grad is None
    assert {name: m.training for name, m in model.named_modules()} == modes


def test_recomputing_and_bf16_change_little():
    key, refs = images(1, 3, 20, 28), images(1, 3, 3, 20, 28, seed=3)
    expected = tiny(**THREE).train().train_maps(key, refs)
    again = tiny(**THREE, with_cp=True).train()
    torch.testing.assert_close(again.train_maps(key, refs), expected)
    model = tiny(**THREE).train()
    with torch.autocast('cpu', torch.bfloat16):
        found = model.train_maps(key, refs)
        for a, b in zip(found, expected, strict=True):
            assert (a.float() - b).norm() < 0.05 * b.norm()
        # the references' pass must not leave weights behind that were cast without a graph
        sum(m.float().square().sum() for m in found).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_another_number_of_references_is_refused():
    with pytest.raises(ValueError, match='2 references: TDViT trains with one for each of its 3'):
        tiny(**THREE).train_maps(images(1, 3, 20, 28), images(1, 2, 3, 20, 28))


# ---- the memory


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


# ---- layout


# ---- weights


def plus(**settings) -> TDViTTransformer:
    sizes = dict(depths=(2, 2, 6), num_heads=(2, 4, 4), out_indices=(0, 1, 2))
    settings = {**TINY, **sizes, 'drop_path_rate': 0.2, **settings}
    return TDViTTransformer(**settings, dilations=(1, 2, 3), extra_blocks=2)


def check_copies(model: TDViTTransformer) -> None:
    blocks = model.stages[2].blocks
    for new, old in ((4, 2), (5, 3)):
        a, b = blocks[new].state_dict(), blocks[old].state_dict()
        assert len(a) == 14 and all(torch.equal(a[name], b[name]) for name in b)
        assert blocks[new].attn.shift == blocks[old].attn.shift
    assert not torch.equal(blocks[3].attn.w_msa.qkv.weight, blocks[2].attn.w_msa.qkv.weight)


@pytest.mark.parametrize('swin', [True, False])
def test_a_swin_file_fills_the_extra_blocks_and_one_of_the_same_model_keeps_its_own(swin, tmp_path):
    sizes = dict(depths=(2, 2, 4), num_heads=(2, 4, 4), out_indices=(0, 1, 2))
    trained = randomise(SwinTransformer(**{**TINY, **sizes}) if swin else plus())
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    model = plus(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth')))
    assert [block.drop_path.rate for block in model.stages[2].blocks][4:] == [0, 0]
    model.init_weights()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in trained.state_dict().items())
    if swin:
        check_copies(model)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(attention='both'), "attention 'both': expected 'joint' or 'cross'"),
        (dict(hold=3), "hold 3: expected 'D' or 1"),
        (dict(dilations=(4, 8, 16)), 'one for each of the 2 stages'),
        (dict(dilations=(0, 1)), 'at least 1'),
        (dict(extra_blocks=2), r'depths \(2, 2\) has 2'),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**settings)
