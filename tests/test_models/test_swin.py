"""Swin, with and without prompts: against a literal loop, against torchvision's implementation, and
its own promises."""

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision.models.swin_transformer as tv
from naive_swin import block_output
from torch import nn

from mmdet.models.backbones import (
    STPNSwinTransformer,
    SwinTransformer,
    pieces,
    swin_layers,
)
from mmdet.registry import MODELS

TINY = dict(
    embed_dims=8,
    depths=(2, 2),
    num_heads=(2, 4),
    out_indices=(0, 1),
    window_size=3,
    drop_path_rate=0.0,
)
TABLE = 'stages.0.blocks.1.attn.w_msa.relative_position_bias_table'


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


def assert_close(found, expected, atol: float = 1e-5) -> None:
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=atol)


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


@pytest.mark.parametrize('hw', [(6, 9), (5, 7)])
@pytest.mark.parametrize('index', [0, 1])
@pytest.mark.parametrize('order', [None, 'batch', 'window'])
def test_a_block_equals_the_loop_over_its_windows(hw, index, order):
    """Bias and mask are zero for prompts, which leave as the mean over all of their windows.

    4 images of 6 windows; in the order of 1.x the first prompts are in windows 0, 4, ... of the 24.
    """
    prompts = 3 if order else 0
    model = prompted(prompt_order=order) if order else tiny()
    block = model.stages[0].blocks[index].double()
    assert block.attn.shift == index  # window 3: odd blocks are shifted by 1
    x = images(4, prompts + hw[0] * hw[1], 8).double().requires_grad_()
    expected = block_output(block, x, hw, prompts, mixed=order == 'window')
    given = (prompts,) if order else ()
    assert_same_function(lambda: block(x, hw, *given), expected, [x], block)


# ---- with prompts


def prompted(**settings) -> STPNSwinTransformer:
    model = MODELS.build(dict(type='STPNSwinTransformer', num_tokens=3, **{**TINY, **settings}))
    return randomise(model).eval()


def test_without_prompts_it_is_the_plain_swin():
    with_prompts, plain = prompted(), SwinTransformer(**TINY).eval()
    plain.load_state_dict(with_prompts.state_dict())  # strict: no name is added
    x = images(2, 3, 50, 70)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(with_prompts(x), plain(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('layout', 'order'), [('tile', [0, 1] * 4), ('interleave', [0] * 4 + [1] * 4)]
)
def test_layouts_of_a_prompt_in_patch_merging(layout, order):
    """One prompt (1, 2) equals the layers of merging on its channels in this order."""
    merging, prompt = randomise(swin_layers.PatchMerging(2, layout)), torch.tensor([1.0, 2.0])
    x = torch.cat([prompt[None, None], images(1, 4, 2)], dim=1)
    expected = merging.reduction(merging.norm(prompt[order]))
    torch.testing.assert_close(merging(x, (2, 2), 1)[0][0, 0], expected)


# ---- the whole model


def test_work_in_pieces_changes_nothing(monkeypatch):
    model, x = tiny(), images(2, 3, 50, 70)
    expected = [level.detach() for level in model(x)]
    for piece in (1, 1000, 2**30):
        monkeypatch.setattr(pieces, 'PIECE', piece)
        with torch.inference_mode():
            assert_close(model(x), expected)


def test_recomputing_blocks_gives_the_same_gradients():
    gradients, x, prompts = [], images(2, 3, 32, 32), images(3, 8, seed=9)
    for with_cp in (False, True):
        model = prompted(with_cp=with_cp)
        sum(level.square().mean() for level in model(x, prompts)).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert_close(*gradients)


def test_bf16_is_near_float32_in_testing_and_training():
    model, x, prompts = prompted(), images(2, 3, 48, 48), images(3, 8, seed=9)
    expected = model(x, prompts)
    with torch.autocast('cpu', torch.bfloat16):
        with torch.inference_mode():
            tested = model(x, prompts)
        trained = model(x, prompts)
    for a, b in zip((*tested, *trained), (*expected, *expected), strict=True):
        assert (a.float() - b).norm() < 0.03 * b.norm()
    sum(level.float().mean() for level in trained).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('way', ['load_state_dict', 'in place', 'data, then eval()'])
@torch.no_grad()
def test_a_kept_bias_follows_its_table_and_the_size(way):
    model, x = tiny(), images(1, 3, 48, 48)
    table = model.get_parameter(TABLE)
    before, change = model(x)[0], torch.linspace(0, 1, table.numel()).view_as(table)
    if way == 'load_state_dict':
        model.load_state_dict({**model.state_dict(), TABLE: table + change})
    elif way == 'in place':
        table.add_(change)
    else:
        table.data.add_(change)
        model.eval()
    assert (model(x)[0] - before).abs().max() > 0.01
    plain = copy.deepcopy(model).train()  # in training mode nothing is kept
    for size in ((48, 48), (36, 60)):
        x = images(1, 3, *size)
        assert_close(model(x), plain(x))


def test_drop_path_grows_with_depth_and_drops_whole_images():
    model = tiny(drop_path_rate=0.3)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    drop, x = swin_layers.DropPath(0.3), torch.ones(4000, 3, 2)
    assert torch.equal(drop.eval()(x), x)
    torch.manual_seed(0)
    out = drop.train()(x)
    kept = out[:, 0, 0] > 0
    assert torch.equal(out, kept[:, None, None].expand_as(x) / 0.7)
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.03)


def test_frozen_parts_neither_learn_nor_train():
    model = tiny(frozen_stages=1).train()
    for name in ('patch_embed', 'stages.0', 'norm0', 'stages.1', 'norm1'):
        module, learns = model.get_submodule(name), name.endswith('1')
        assert module.training == learns
        assert all(p.requires_grad == learns for p in module.parameters())
    model(images(1, 3, 32, 32))[-1].sum().backward()


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'expected \(3, 8\) or \(2, 3, 8\)'):
        prompted()(images(2, 3, 32, 32), torch.zeros(4, 8))
    with pytest.raises(ValueError, match='Stage 0 has 8 channels, which 3 heads'):
        tiny(num_heads=(3, 4))
    with pytest.raises(ValueError, match=r'expected ascending stages, 0\.\.1'):
        tiny(out_indices=(0, 2))


# ---- weights of other sources


def loaded(tmp_path, file: dict, **settings) -> SwinTransformer:
    torch.save(file, tmp_path / 'file.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))
    model = tiny(seed=9, init_cfg=init_cfg, **settings)
    model.init_weights()
    return model


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


@pytest.mark.parametrize(('size', 'of_a_detector'), [((80, 112), False), ((76, 60), True)])
def test_the_maps_are_torchvisions(tmp_path, size, of_a_detector):
    """76x60 is padded in every block and in merging (19x15 tokens)."""
    oracle = tv.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [3, 3], stochastic_depth_prob=0.0)
    randomise(oracle, 3).eval()
    weights = from_torchvision(oracle)
    file = {'model': weights}
    if of_a_detector:
        others = {'neck.lateral_convs.0.conv.weight': torch.zeros(3), 'backbone.norm7.bias': 1}
        file = {'meta': {}, 'state_dict': {f'backbone.{k}': v for k, v in weights.items()}}
        file['state_dict'].update(others)
    model = loaded(tmp_path, file)
    model.norm1.load_state_dict(oracle.norm.state_dict())  # the norms of maps are not in the file
    x = images(2, 3, *size)
    with torch.no_grad():
        first, last = oracle.features[:2](x), oracle.norm(oracle.features(x))
        maps = model(x)
        assert_close(maps, [model.norm0(first).movedim(3, 1), last.movedim(3, 1)], atol=2e-5)
    assert_close(model(x), maps, atol=2e-5)


@pytest.mark.parametrize('prefix', ['', 'detector.backbone.'])
def test_files_of_ours_are_taken_as_they_are(tmp_path, prefix):
    source = tiny().state_dict()
    file = {prefix + name: value for name, value in source.items()}
    if prefix:
        file['prompt_predictor.query'] = torch.zeros(5, 8)
    assert_close(loaded(tmp_path, {'state_dict': file}).state_dict().values(), source.values(), 0)


def test_tables_of_another_window_are_resampled(tmp_path):
    source = tiny().state_dict()
    found = loaded(tmp_path, source, window_size=5).state_dict()
    table = source[TABLE].T.view(1, 2, 5, 5)
    expected = nn.functional.interpolate(table, (9, 9), mode='bicubic')
    torch.testing.assert_close(found[TABLE].T.view(1, 2, 9, 9), expected, rtol=0, atol=1e-5)
    plain = [name for name in source if 'attn' not in name]
    assert_close([found[name] for name in plain], [source[name] for name in plain], 0)
