"""How reference frames of a training clip pass a TDViT, and what the key frame takes of them."""

import pytest
import torch
from naive_swin import block_output
from test_swin import images
from test_tdvit import tiny
from torch import Tensor

from mmdet.models.backbones import TDViTTransformer
from mmdet.models.backbones.tdvit_training import ReferencePass

THREE = dict(depths=(2, 3, 4), num_heads=(2, 4, 4), out_indices=(0, 1, 2), dilations=(1, 2, 3))


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
            if (i, j) in places:
                before = others
                with torch.no_grad():
                    seen = x.expand_as(others) if paired else others
                    others = block_output(block, others, hw, references=seen, joint=joint)
                kept = (before if model.memory_feature == 'input' else others)[i : i + 1]
                x = block_output(block, x, hw, references=kept.detach(), joint=joint)
            else:
                x = block(x, hw)
                with torch.no_grad():
                    others = block(others, hw)
        maps.append(getattr(model, f'norm{i}')(x[0]).T.unflatten(1, hw))
        if stage.downsample is not None:
            with torch.no_grad():
                others = stage.downsample(others, hw)[0]
            x, hw = stage.downsample(x, hw)
    return maps


@pytest.mark.parametrize('attention', ['joint', 'cross'])
@pytest.mark.parametrize('scheme', ['split', 'factorised'])
@pytest.mark.parametrize('paired', [False, True])
@pytest.mark.parametrize('feature', ['input', 'output'])
def test_maps_and_gradients_equal_the_literal_pass(attention, scheme, paired, feature):
    settings = dict(scheme=scheme, memory_feature=feature, paired=paired)
    model = tiny(attention=attention, **settings, **THREE).double()
    key, refs = images(2, 3, 20, 28).double(), images(2, 3, 3, 20, 28, seed=3).double()
    found = model.train_maps(key, refs)
    expected = [
        literal_maps(model, k, r, paired, attention == 'joint')
        for k, r in zip(key, refs, strict=True)
    ]
    expected = [torch.stack(level) for level in zip(*expected, strict=True)]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    gradients = [
        torch.autograd.grad(sum((m * m.detach().cos()).sum() for m in maps), model.parameters())
        for maps in (found, expected)
    ]
    for (name, _), a, b in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8, msg=name)
        assert a.abs().max() > 1e-9, name


def test_no_gradient_reaches_references_and_no_mode_changes():
    model = tiny(**THREE, drop_path_rate=0.5, frozen_stages=1).train()
    modes = {name: m.training for name, m in model.named_modules()}
    refs = images(1, 3, 3, 20, 28).requires_grad_()
    maps = model.train_maps(images(1, 3, 20, 28), refs)
    sum(m.square().sum() for m in maps).backward()
    assert refs.grad is None
    assert {name: m.training for name, m in model.named_modules()} == modes


def test_a_reference_that_has_left_is_not_computed(monkeypatch):
    """3, 2 and 1 pass the three stages; in stage 3 nothing does after its last temporal block."""
    model, sizes = tiny(**THREE), []
    blocks = [block for stage in model.stages for block in stage.blocks]
    for block in blocks:
        block.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    others = ReferencePass(model, images(3, 2, 3, 20, 28))
    for place in model.temporal_blocks:
        others.map_at(place, None)
    # st, sst, sstt; each t runs after the stage's reference has left
    assert sizes == [6, 4, 4, 4, 2, 2, 2, 2]


def test_recomputing_and_bf16_change_little():
    key, refs = images(1, 3, 20, 28), images(1, 3, 3, 20, 28, seed=3)
    expected = tiny(**THREE).train().train_maps(key, refs)
    model = tiny(**THREE, with_cp=True).train()
    found = model.train_maps(key, refs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    sum(m.sum() for m in found).backward()
    assert model.stages[2].blocks[3].attn.w_msa.qkv.weight.grad.abs().max() > 0
    model = tiny(**THREE).train()
    with torch.autocast('cpu', torch.bfloat16):
        found = model.train_maps(key, refs)
        for a, b in zip(found, expected, strict=True):
            assert (a.float() - b).norm() < 0.05 * b.norm()
        # the references' pass must not leave weights behind that were cast without a graph
        sum(m.float().square().sum() for m in found).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_another_number_of_references_is_refused():
    with pytest.raises(ValueError, match='2 references: TDViT trains with one for each of its 3'):
        tiny(**THREE).train_maps(images(1, 3, 20, 28), images(1, 2, 3, 20, 28))
