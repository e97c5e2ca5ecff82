"""The TDViT backbone: its blocks, how references pass it in training, its layout and weights."""

import pytest
import torch
from naive_swin import block_output
from test_swin import TINY, assert_same_function, images, randomise
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import SwinTransformer, TDViTTransformer
from mmdet.models.backbones.tdvit_training import ReferencePass
from mmdet.registry import MODELS

THREE = dict(depths=(2, 3, 4), num_heads=(2, 4, 4), out_indices=(0, 1, 2), dilations=(1, 2, 3))


def tiny(seed: int = 0, **settings) -> TDViTTransformer:
    model = MODELS.build(dict(type='TDViTTransformer', **{**TINY, 'dilations': (2, 3), **settings}))
    return randomise(model, seed).eval()


@pytest.mark.parametrize('hw', [(6, 9), (5, 7), (2, 2)])
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


def literal_maps(
    model: TDViTTransformer, key: Tensor, refs: Tensor, paired: bool, joint: bool
) -> list[Tensor]:
    """Maps of one key frame [3, h, w], all references [S, 3, h, w] passing all stages beside it."""
    places = {(p.stage, p.index) for p in model.temporal_blocks}
    x, hw = model.patch_embed(key[None])
    others = model.patch_embed(refs)[0].detach()
    maps = []
    for i, stage in enumerate(model.stages):
        for j, block in enumerate(stage.blocks):
            before = others
            with torch.no_grad():
                seen = (x.expand_as(others) if paired else others) if (i, j) in places else None
                others = block_output(block, others, hw, references=seen, joint=joint)
            kept = None
            if (i, j) in places:
                kept = (before if model.memory_feature == 'input' else others)[i : i + 1].detach()
            x = block_output(block, x, hw, references=kept, joint=joint)
        maps.append(getattr(model, f'norm{i}')(x[0]).T.unflatten(1, hw))
        if stage.downsample is not None:
            with torch.no_grad():
                others = stage.downsample(others, hw)[0]
            x, hw = stage.downsample(x, hw)
    return maps


@pytest.mark.parametrize(('attention', 'feature'), [('joint', 'input'), ('cross', 'output')])
@pytest.mark.parametrize('scheme', ['split', 'factorised'])
@pytest.mark.parametrize('paired', [False, True])
def test_maps_and_gradients_equal_the_literal_pass(attention, feature, scheme, paired):
    settings = dict(attention=attention, scheme=scheme, memory_feature=feature, paired=paired)
    model = tiny(**settings, **THREE).double()
    key, refs = images(2, 3, 20, 28).double(), images(2, 3, 3, 20, 28, seed=3).double()
    pairs = zip(key, refs, strict=True)
    each = [literal_maps(model, k, r, paired, attention == 'joint') for k, r in pairs]
    expected = tuple(torch.stack(level) for level in zip(*each, strict=True))
    found = model.train_maps(key, refs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    a, b = (
        torch.autograd.grad(sum((m * m.detach().cos()).sum() for m in maps), model.parameters())
        for maps in (found, expected)
    )
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)
    assert all(gradient.abs().max() > 1e-9 for gradient in a)


def test_no_gradient_reaches_references_and_no_mode_changes():
    model = tiny(**THREE, drop_path_rate=0.5, frozen_stages=1).train()
    modes = {name: m.training for name, m in model.named_modules()}
    refs = images(1, 3, 3, 20, 28).requires_grad_()
    maps = model.train_maps(images(1, 3, 20, 28), refs)
    sum(m.square().sum() for m in maps).backward()
    assert refs.grad is None
    assert {name: m.training for name, m in model.named_modules()} == modes


def test_a_reference_that_has_left_is_not_computed():
    """3, 2 and 1 pass the three stages; in stage 3 nothing does after its last temporal block."""
    model, sizes = tiny(**THREE), []
    for block in [block for stage in model.stages for block in stage.blocks]:
        block.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    others = ReferencePass(model, images(3, 2, 3, 20, 28))
    for place in model.temporal_blocks:
        others.map_at(place, None)
    # st, sst, sstt; each t runs after the stage's reference has left
    assert sizes == [6, 4, 4, 4, 2, 2, 2, 2]


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


# ---- layout


@pytest.mark.parametrize(
    ('settings', 'third'),
    [
        (dict(depths=(2, 2, 6, 2)), 'sssttt'),
        (dict(depths=(2, 2, 8, 2), extra_blocks=2), 'sssttttt'),
        (dict(depths=(2, 2, 18, 2)), 's' * 9 + 't' * 9),
        (dict(depths=(2, 2, 20, 2), extra_blocks=2), 's' * 9 + 't' * 11),
        (dict(depths=(2, 2, 6, 2), scheme='factorised'), 'ststst'),
    ],
    ids=['t', 't_plus', 's, b', 's_plus, b_plus', 'factorised'],
)
def test_layouts_of_the_paper(settings, third):
    """s: a spatial block, t: a temporal one."""
    with torch.device('meta'):
        model = TDViTTransformer(**settings)
    found = [['s'] * len(stage.blocks) for stage in model.stages]
    for place in model.temporal_blocks:
        found[place.stage][place.index] = 't'
    assert [''.join(stage) for stage in found] == ['st', 'st', third, 'st']
    dilations = [4, 8, *[16] * third.count('t'), 32]
    assert [p.dilation for p in model.temporal_blocks] == dilations


# ---- weights


def plus(**settings) -> TDViTTransformer:
    sizes = dict(depths=(2, 2, 6), num_heads=(2, 4, 4), out_indices=(0, 1, 2))
    return TDViTTransformer(**{**TINY, **sizes, **settings}, dilations=(1, 2, 3), extra_blocks=2)


def check_copies(model: TDViTTransformer) -> None:
    blocks = model.stages[2].blocks
    for new, old in ((4, 2), (5, 3)):
        a, b = blocks[new].state_dict(), blocks[old].state_dict()
        assert len(a) == 14 and all(torch.equal(a[name], b[name]) for name in b)
        assert blocks[new].attn.shift == blocks[old].attn.shift
    assert not torch.equal(blocks[3].attn.w_msa.qkv.weight, blocks[2].attn.w_msa.qkv.weight)


def test_extra_blocks_start_as_copies_and_are_never_dropped():
    model = plus(drop_path_rate=0.2)
    model.init_weights()
    check_copies(model)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([*torch.linspace(0, 0.2, 8).tolist(), 0, 0])


@pytest.mark.parametrize('swin', [True, False])
def test_a_swin_file_fills_the_extra_blocks_and_one_of_the_same_model_keeps_its_own(swin, tmp_path):
    sizes = dict(depths=(2, 2, 4), num_heads=(2, 4, 4), out_indices=(0, 1, 2))
    trained = randomise(SwinTransformer(**{**TINY, **sizes}) if swin else plus())
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    model = plus(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth')))
    model.init_weights()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in trained.state_dict().items())
    if swin:
        check_copies(model)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(attention='both'), "attention 'both': expected 'joint' or 'cross'"),
        (dict(scheme='halves'), "expected 'split' or 'factorised'"),
        (dict(memory='latest'), "memory 'latest': expected 'earliest' or 'nms'"),
        (dict(hold=3), "hold 3: expected 'D' or 1"),
        (dict(memory_feature='both'), "expected 'input' or 'output'"),
        (dict(dilations=(4, 8, 16)), 'one for each of the 2 stages'),
        (dict(dilations=(0, 1)), 'at least 1'),
        (dict(dilations=(1.5, 2)), 'whole frames'),
        (dict(extra_blocks=2), r'depths \(2, 2\) has 2'),
        (dict(depths=(2, 2, 3), num_heads=(2, 4, 4), dilations=(1, 1, 1), extra_blocks=2),
         'expected 0 to 1'),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**settings)
