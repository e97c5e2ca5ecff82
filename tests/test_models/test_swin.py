"""Swin: against a literal loop, against torchvision's implementation, and its own promises."""

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision.models.swin_transformer as tv
from naive_swin import block_output
from torch import nn

from mmdet.models.backbones import SwinTransformer, pieces, swin_layers, windows
from mmdet.registry import MODELS

TINY = dict(
    embed_dims=8,
    depths=(2, 2),
    num_heads=(2, 4),
    out_indices=(0, 1),
    window_size=3,
    drop_path_rate=0.0,
)


def tiny(seed: int = 0, **settings) -> SwinTransformer:
    """A small model whose every parameter matters."""
    model = MODELS.build(dict(type='SwinTransformer', **{**TINY, **settings}))
    return randomise(model, seed).eval()


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        fan_in = 1 if 'bias_table' in name else parameter[0].numel()
        parameter.data = noise / fan_in**0.5
    return model


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_same_function(
    function: Callable[[], torch.Tensor],
    expected: torch.Tensor,
    inputs: list[torch.Tensor],
    block: nn.Module,
) -> None:
    """Values, with and without a graph, and gradients, in double precision."""
    weight, inputs = images(*expected.shape, seed=1).double(), [*inputs, *block.parameters()]
    found = function()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    gradients = (torch.autograd.grad((x * weight).sum(), inputs) for x in (found, expected))
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(function(), expected, rtol=0, atol=1e-10)


# ---- one block


@pytest.mark.parametrize('hw', [(6, 9), (5, 7), (2, 2)])
@pytest.mark.parametrize('index', [0, 1])
def test_a_block_equals_the_loop_over_its_windows(hw, index):
    block = tiny().stages[0].blocks[index].double()
    assert block.attn.shift == index  # window 3: odd blocks are shifted by 1
    x = images(2, hw[0] * hw[1], 8).double().requires_grad_()
    assert_same_function(lambda: block(x, hw), block_output(block, x, hw), [x], block)
    with torch.no_grad():
        expected = block(x, hw).float()
        torch.testing.assert_close(block.float()(x.float(), hw), expected, rtol=0, atol=1e-5)


# ---- the whole model


def from_torchvision(model: tv.SwinTransformer) -> dict:
    """torchvision's weights under Microsoft's names; the order of merged channels is the same."""
    renamed = {}
    for name, value in model.state_dict().items():
        part, _, rest = name.removeprefix('features.').partition('.')
        if not part.isdigit():
            renamed[name] = value
        elif part == '0':
            renamed['patch_embed.' + rest.replace('0.', 'proj.').replace('2.', 'norm.')] = value
        elif int(part) % 2 == 0:
            renamed[f'layers.{int(part) // 2 - 1}.downsample.{rest}'] = value
        else:
            rest = rest.replace('mlp.0', 'mlp.fc1').replace('mlp.3', 'mlp.fc2')
            if rest.endswith('relative_position_index'):
                value = value.view(9, 9)
            renamed[f'layers.{int(part) // 2}.blocks.{rest}'] = value
    return renamed


@pytest.mark.parametrize('size', [(80, 112), (76, 60)])
def test_the_maps_are_torchvisions(tmp_path, size):
    """76x60 is padded in every block and in merging (19x15 tokens)."""
    oracle = tv.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [3, 3], stochastic_depth_prob=0.0)
    randomise(oracle, 3).eval()
    torch.save({'model': from_torchvision(oracle)}, tmp_path / 'official.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'official.pth'))
    model = MODELS.build(dict(type='SwinTransformer', **TINY, init_cfg=init_cfg)).eval()
    model.init_weights()
    model.norm1.load_state_dict(oracle.norm.state_dict())

    x = images(2, 3, *size)
    with torch.no_grad():
        first = oracle.features[:2](x)
        last = oracle.norm(oracle.features(x))
        maps = model(x)
    plain = nn.functional.layer_norm(first, (8,))  # norm0 is not in the file: it stays 1 and 0
    torch.testing.assert_close(maps[0], plain.permute(0, 3, 1, 2), rtol=0, atol=2e-5)
    torch.testing.assert_close(maps[1], last.permute(0, 3, 1, 2), rtol=0, atol=2e-5)
    with torch.enable_grad():
        torch.testing.assert_close(model(x)[1], maps[1], rtol=0, atol=2e-5)


@torch.no_grad()
def test_any_size_is_padded_to_the_stride():
    model = SwinTransformer(embed_dims=2, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), mlp_ratio=1)
    maps = model(images(1, 3, 33, 31))
    assert [m.shape[1:] for m in maps] == [(2, 9, 8), (4, 5, 4), (8, 3, 2), (16, 2, 1)]


def test_work_in_pieces_changes_nothing(monkeypatch):
    model, x = tiny(), images(2, 3, 50, 70)
    expected = [level.detach() for level in model(x)]
    for piece in (1, 1000, 2**30):
        monkeypatch.setattr(pieces, 'PIECE', piece)
        with torch.inference_mode():
            for got, want in zip(model(x), expected, strict=True):
                torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_recomputing_blocks_gives_the_same_gradients():
    x = images(1, 3, 32, 32)
    gradients = []
    for with_cp in (False, True):
        model = tiny(with_cp=with_cp)
        sum(level.square().mean() for level in model(x)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_bf16_is_near_float32_in_testing_and_training():
    model, x = tiny(), images(2, 3, 48, 48)
    expected = model(x)
    with torch.autocast('cpu', torch.bfloat16):
        with torch.inference_mode():
            tested = model(x)
        trained = model(x)
    for got in (tested, trained):
        for a, b in zip(got, expected, strict=True):
            assert (a.float() - b).norm() < 0.03 * b.norm()
    sum(level.float().mean() for level in trained).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# ---- what is kept between calls


def test_a_kept_bias_follows_the_weights_and_the_size():
    model = tiny()
    with torch.inference_mode():
        model(images(1, 3, 48, 48))
    other = tiny(seed=1)
    model.load_state_dict(other.state_dict())
    for size in ((48, 48), (36, 60)):
        x = images(1, 3, *size)
        with torch.inference_mode():
            for a, b in zip(model(x), copy.deepcopy(other)(x), strict=True):
                assert torch.equal(a, b)


@pytest.mark.parametrize('way', ['in place', 'data, then eval()', 'data, then train()'])
def test_a_kept_bias_is_dropped_when_its_table_is_written(way):
    model, x = tiny(), images(1, 3, 48, 48)
    table = model.stages[0].blocks[1].attn.w_msa.relative_position_bias_table
    with torch.no_grad():
        before = model(x)[0]
        target = table if way == 'in place' else table.data
        target.add_(torch.linspace(0, 1, table.numel()).view_as(table))
        if way != 'in place':
            model.train('train' in way)
        after = model(x)[0]
        expected = copy.deepcopy(model).train()(x)[0]  # in training mode nothing is kept
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after, expected)


def test_training_after_testing_works():
    """What inference mode leaves in the caches must still be fit for a backward pass."""
    windows.window_grid.cache_clear()
    model, x = tiny(), images(1, 3, 40, 40)
    with torch.inference_mode():
        model(x)
        assert not windows.window_grid(10, 10, 3, 1, 0, x.device).mask.is_inference()
    model.train()(x)[-1].sum().backward()
    assert model.patch_embed.projection.weight.grad.abs().sum() > 0


# ---- training


def test_drop_path_grows_with_depth_and_drops_whole_images():
    model = tiny(drop_path_rate=0.3)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    drop = swin_layers.DropPath(0.3)
    x = torch.ones(4000, 3, 2)
    assert torch.equal(drop.eval()(x), x)
    torch.manual_seed(0)
    out = drop.train()(x)
    kept = out[:, 0, 0] > 0
    assert torch.equal(out, kept[:, None, None].expand_as(x) / 0.7)
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1])
def test_frozen_parts_neither_learn_nor_train(frozen_stages):
    model = tiny(frozen_stages=frozen_stages)
    assert model.train() is model
    parts = {
        'patch_embed': frozen_stages >= 0,
        'stages.0': frozen_stages >= 1,
        'norm0': frozen_stages >= 1,
        'stages.1': False,
        'norm1': False,
    }
    for name, frozen in parts.items():
        module = model.get_submodule(name)
        assert module.training is not frozen
        assert all(p.requires_grad is not frozen for p in module.parameters())
    model(images(1, 3, 32, 32))[-1].sum().backward()


# ---- names, numbers, mistakes


@pytest.mark.parametrize(
    'settings, words',
    [
        (dict(num_heads=(3, 4)), 'Stage 0 has 8 channels, which 3 heads'),
        (dict(num_heads=(2,)), 'has 2 stages'),
        (dict(out_indices=(0, 2)), r'expected ascending stages, 0\.\.1'),
        (dict(frozen_stages=5), 'expected -1'),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        SwinTransformer(**{**TINY, **settings})
