"""Swin with prompts: against a literal loop, and what the original computes."""

import pytest
import torch
from golden import clip_of, load_json, load_module
from naive_swin import backbone_maps, batch_output
from test_swin import TINY, images, randomise
from torch import nn

from mmdet.models.backbones import STPNSwinTransformer, SwinTransformer
from mmdet.models.backbones.swin_layers import PatchMerging
from mmdet.models.backbones.window_attention import WindowAttention
from mmdet.models.vid.prompt_predictors import AttentionPromptPredictor
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
    expected = torch.stack(batch_output(block, list(x), hw, 3, mixed=order == 'window'))
    weight = images(*expected.shape, seed=1).double()
    parameters = [x, *block.parameters()]
    gradients = torch.autograd.grad((expected * weight).sum(), parameters)

    actual = block(x, hw, 3)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)
    for got, want in zip(
        torch.autograd.grad((actual * weight).sum(), parameters), gradients, strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(block(x, hw, 3), expected, rtol=0, atol=1e-10)


def test_the_whole_backbone_equals_the_loops():
    model, x, prompts = tiny().double(), images(2, 3, 40, 48).double(), prompts_of(2, 3, 8).double()
    for i, levels in enumerate(zip(*model(x, prompts), strict=True)):
        for a, b in zip(levels, backbone_maps(model, x[i], prompts[i]), strict=True):
            torch.testing.assert_close(a[None], b, rtol=0, atol=1e-10)


@pytest.mark.parametrize('gradients', [True, False])
def test_the_order_of_1x_differs_in_batches_only(gradients):
    """Even with equal images and prompts: what a prompt became differs from window to window."""
    own, mixed = tiny(), tiny(prompt_order='window')
    x, prompts = images(1, 3, 50, 38), prompts_of(3, 8)
    with torch.set_grad_enabled(gradients):
        for a, b in zip(own(x, prompts), mixed(x, prompts), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
        twice = x.expand(2, -1, -1, -1)
        last_own, last_mixed = own(twice, prompts)[-1], mixed(twice, prompts)[-1]
    assert (last_own - last_mixed).abs().max() > 1e-3


def test_without_prompts_it_is_the_plain_swin():
    prompted, plain = tiny(), SwinTransformer(**TINY).eval()
    plain.load_state_dict(prompted.state_dict())  # strict: no name is added
    x = images(2, 3, 50, 70)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            for a, b in zip(prompted(x), plain(x), strict=True):
                assert torch.equal(a, b)


def test_prompts_change_every_level_and_no_shape():
    model, x = tiny(), images(1, 3, 50, 70)
    for plain, prompted in zip(model(x), model(x, prompts_of(3, 8)), strict=True):
        assert prompted.shape == plain.shape
        assert (prompted - plain).abs().mean() > 0.01


def test_patches_that_ignore_the_prompts_are_as_without(monkeypatch):
    original = WindowAttention._make_bias

    def blind(self, grid, dtype):
        bias = original(self, grid, dtype).clone()
        bias[..., grid.num_prompts :, : grid.num_prompts] = float('-inf')
        return bias

    monkeypatch.setattr(WindowAttention, '_make_bias', blind)
    model, x = tiny(), images(1, 3, 50, 70)
    for a, b in zip(model(x, prompts_of(3, 8)), model(x), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize('gradients', [True, False])
@pytest.mark.parametrize('shared_prompts', [True, False])
def test_images_of_a_batch_do_not_meet(gradients, shared_prompts):
    model, x = tiny(), images(3, 3, 50, 38)
    prompts = prompts_of(3, 8) if shared_prompts else prompts_of(3, 3, 8)
    with torch.set_grad_enabled(gradients):
        together = model(x, prompts)
        alone = [
            model(one[None], prompts if shared_prompts else prompts[i]) for i, one in enumerate(x)
        ]
    for i, level in enumerate(together):
        torch.testing.assert_close(level, torch.cat([a[i] for a in alone]), rtol=0, atol=1e-5)


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


def test_an_interleaved_prompt_merges_like_four_equal_patches():
    merging = randomise(PatchMerging(4, 'interleave'))
    token = images(1, 1, 4)
    out, _ = merging(token.expand(1, 5, 4), (2, 2), 1)
    torch.testing.assert_close(out[0, 0], out[0, 1])


def test_the_layout_is_a_setting_of_the_model():
    x, prompts = images(1, 3, 40, 40), prompts_of(3, 8)
    tile, interleave = tiny()(x, prompts), tiny(prompt_layout='interleave')(x, prompts)
    assert torch.equal(tile[0], interleave[0])  # before the first merging
    assert (tile[1] - interleave[1]).abs().max() > 0.01


def test_gradients_reach_predictor_and_backbone_through_the_key_frame_only():
    model = tiny().train()
    predictor = AttentionPromptPredictor(16, num_prompts=3, prompt_dims=8, num_heads=2)
    with torch.no_grad():
        support = model(images(2, 3, 40, 40, seed=1))[-1]
    prompts = predictor(support)
    prompts.square().sum().backward(retain_graph=True)
    assert all(p.grad is None for p in model.parameters())

    sum(level.square().mean() for level in model(images(1, 3, 40, 40), prompts)).backward()
    for name, p in [*model.named_parameters(), *predictor.named_parameters()]:
        if name == 'ref_fc_embed.bias':  # the softmax does not feel it
            assert p.grad.abs().max() < 1e-5
        else:
            assert p.grad.abs().max() > 1e-7, name


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


def golden_models(shared) -> tuple[STPNSwinTransformer, AttentionPromptPredictor]:
    """Backbone and predictor of the release with the golden weights."""
    backbone, predictor = STPNSwinTransformer(), AttentionPromptPredictor()
    both = nn.ModuleDict(
        {'detector': nn.ModuleDict({'backbone': backbone}), 'prompt_predictor': predictor}
    )
    weights = load_module(shared / 'golden/weights.py')
    both.load_state_dict(weights.state_dict_for(both.state_dict()))
    return backbone.eval(), predictor


@pytest.mark.parametrize('gradients', [True, False])
def test_activations_are_the_originals(shared, gradients):
    """Real frames: two references without prompts, their prompts, the key frame with them."""
    golden = load_json(shared / 'golden/train/stpn.json')['activations']
    folder = shared / 'golden/video/ILSVRC/Data/VID/val/A'
    frames = clip_of([folder / f'{i:06d}.JPEG' for i in (3, 1, 6)]).images.flip(-1).float()
    mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])
    frames = nn.functional.pad((frames - mean) / std, (0, 0, 0, 0, 0, 12)).permute(0, 3, 1, 2)
    backbone, predictor = golden_models(shared)
    with torch.set_grad_enabled(gradients):
        support = backbone(frames[1:])
        prompts = predictor(support[-1])
        key = backbone(frames[:1], prompts)
    expected = [*golden['backbone_out'][0], *golden['prompt'][0], *golden['backbone_out'][1]]
    for actual, numbers in zip([*support, prompts, *key], expected, strict=True):
        assert list(actual.shape) == numbers['shape']
        assert actual.norm().item() == pytest.approx(numbers['l2'], rel=2e-5)
        assert actual.mean().item() == pytest.approx(numbers['mean'], abs=1e-6)
