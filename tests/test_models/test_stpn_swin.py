"""Swin with prompts: against a literal loop, and what the original computes."""

import pytest
import torch
from naive_swin import backbone_maps, block_output
from test_swin import TINY, assert_same_function, images, randomise

from mmdet.models.backbones import STPNSwinTransformer, SwinTransformer
from mmdet.models.backbones.swin_layers import PatchMerging
from mmdet.registry import MODELS


def tiny(seed: int = 0, **settings) -> STPNSwinTransformer:
    model = MODELS.build(dict(type='STPNSwinTransformer', num_tokens=3, **{**TINY, **settings}))
    return randomise(model, seed).eval()


def prompts_of(*shape: int) -> torch.Tensor:
    return images(*shape, seed=9)


@pytest.mark.parametrize('hw', [(6, 9), (5, 7)])
@pytest.mark.parametrize('index', [0, 1])
@pytest.mark.parametrize('order', ['batch', 'window'])
def test_a_prompted_block_equals_the_loop_over_its_windows(hw, index, order):
    """Bias and mask are zero for prompts, which leave as the mean over all of their windows.

    4 images of 6 windows; in the order of 1.x the first prompts are in windows 0, 4, ... of the 24.
    """
    block = tiny(prompt_order=order).stages[0].blocks[index].double()
    x = images(4, 3 + hw[0] * hw[1], 8).double().requires_grad_()
    expected = block_output(block, x, hw, 3, mixed=order == 'window')
    assert_same_function(lambda: block(x, hw, 3), expected, [x], block)


def test_the_whole_backbone_equals_the_loops():
    model, x, prompts = tiny().double(), images(2, 3, 40, 48).double(), prompts_of(2, 3, 8).double()
    for i, levels in enumerate(zip(*model(x, prompts), strict=True)):
        for a, b in zip(levels, backbone_maps(model, x[i], prompts[i]), strict=True):
            torch.testing.assert_close(a[None], b, rtol=0, atol=1e-10)


def test_without_prompts_it_is_the_plain_swin():
    prompted, plain = tiny(), SwinTransformer(**TINY).eval()
    plain.load_state_dict(prompted.state_dict())  # strict: no name is added
    x = images(2, 3, 50, 70)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            for a, b in zip(prompted(x), plain(x), strict=True):
                assert torch.equal(a, b)


def merged_prompt(layout: str, order: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One prompt (1, 2) through merging, and through its layers in the given order of channels."""
    merging = randomise(PatchMerging(2, layout))
    x = torch.cat([torch.tensor([[[1.0, 2.0]]]), images(1, 4, 2)], dim=1)
    widened = torch.tensor([[1.0, 2.0][channel] for channel in order])
    expected = merging.reduction(merging.norm(widened))
    return merging(x, (2, 2), 1)[0][0, 0], expected


def test_layouts_of_a_prompt_in_patch_merging():
    tile, expected_tile = merged_prompt('tile', [0, 1] * 4)
    interleave, expected_interleave = merged_prompt('interleave', [0] * 4 + [1] * 4)
    torch.testing.assert_close(tile, expected_tile)
    torch.testing.assert_close(interleave, expected_interleave)
    assert (tile - interleave).abs().max() > 0.1


def test_prompts_live_through_bf16_and_recomputing():
    x, prompts = images(2, 3, 48, 48), prompts_of(3, 8)
    expected = tiny()(x, prompts)
    for a, b in zip(tiny(with_cp=True)(x, prompts), expected, strict=True):
        torch.testing.assert_close(a, b)
    with torch.autocast('cpu', torch.bfloat16), torch.inference_mode():
        for a, b in zip(tiny()(x, prompts), expected, strict=True):
            assert (a.float() - b).norm() < 0.03 * b.norm()


@pytest.mark.parametrize('shape', [(4, 8), (3, 7), (1, 3, 8), (3,)])
def test_prompts_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r'expected \(3, 8\) or \(2, 3, 8\)'):
        tiny()(images(2, 3, 32, 32), torch.zeros(shape))


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="'tile' \\(released\\) or 'interleave'"):
        tiny(prompt_layout='repeat')
    with pytest.raises(ValueError, match="'batch' or 'window'"):
        tiny(prompt_order='tile')
    with pytest.raises(TypeError, match="Did you mean 'embed_dims'"):
        tiny(embed_dim=8)
