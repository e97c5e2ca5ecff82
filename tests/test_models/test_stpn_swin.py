"""Swin with prompts: against a literal loop; the whole backbone is in test_stpn.py."""

import pytest
import torch
from naive_swin import block_output
from test_swin import TINY, assert_same_function, images, randomise

from mmdet.models.backbones import STPNSwinTransformer, SwinTransformer
from mmdet.models.backbones.swin_layers import PatchMerging
from mmdet.registry import MODELS


def tiny(**settings) -> STPNSwinTransformer:
    model = MODELS.build(dict(type='STPNSwinTransformer', num_tokens=3, **{**TINY, **settings}))
    return randomise(model).eval()


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


def test_without_prompts_it_is_the_plain_swin():
    prompted, plain = tiny(), SwinTransformer(**TINY).eval()
    plain.load_state_dict(prompted.state_dict())  # strict: no name is added
    x = images(2, 3, 50, 70)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(prompted(x), plain(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('layout', 'order'), [('tile', [0, 1] * 4), ('interleave', [0] * 4 + [1] * 4)]
)
def test_layouts_of_a_prompt_in_patch_merging(layout, order):
    """One prompt (1, 2) equals the layers of merging on its channels in this order."""
    merging, prompt = randomise(PatchMerging(2, layout)), torch.tensor([1.0, 2.0])
    x = torch.cat([prompt[None, None], images(1, 4, 2)], dim=1)
    expected = merging.reduction(merging.norm(prompt[order]))
    torch.testing.assert_close(merging(x, (2, 2), 1)[0][0, 0], expected)


def test_prompts_live_through_bf16_and_recomputing():
    x, prompts = images(2, 3, 48, 48), images(3, 8, seed=9)
    expected = tiny()(x, prompts)
    torch.testing.assert_close(tiny(with_cp=True)(x, prompts), expected)
    with torch.autocast('cpu', torch.bfloat16), torch.inference_mode():
        for a, b in zip(tiny()(x, prompts), expected, strict=True):
            assert (a.float() - b).norm() < 0.03 * b.norm()


@pytest.mark.parametrize('shape', [(4, 8), (3, 7), (1, 3, 8), (3,)])
def test_prompts_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r'expected \(3, 8\) or \(2, 3, 8\)'):
        tiny()(images(2, 3, 32, 32), torch.zeros(shape))


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        (dict(prompt_layout='repeat'), ValueError, "'tile' .*or 'interleave'"),
        (dict(prompt_order='tile'), ValueError, "'batch' or 'window'"),
        (dict(embed_dim=8), TypeError, "Did you mean 'embed_dims'"),
    ],
)
def test_unknown_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        tiny(**settings)
