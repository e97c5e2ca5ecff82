"""Swin weights of other sources."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdet.models.backbones import SwinTransformer
from mmdet.models.backbones.swin_convert import (
    reorder_merged_channels,
)
from mmdet.models.backbones.swin_layers import PatchMerging

TINY = dict(embed_dims=8, depths=(2, 2), num_heads=(2, 4), out_indices=(0, 1), window_size=3)


def tiny(seed: int, **settings) -> SwinTransformer:
    torch.manual_seed(seed)
    model = SwinTransformer(**{**TINY, **settings})
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def microsoft_names(state: dict) -> dict:
    """Names as the official repository has them (not the order of the channels)."""
    official = {}
    for name, value in state.items():
        for ours, theirs in (
            ('stages.', 'layers.'),
            ('attn.w_msa.', 'attn.'),
            ('ffn.layers.0.0.', 'mlp.fc1.'),
            ('ffn.layers.1.', 'mlp.fc2.'),
            ('patch_embed.projection', 'patch_embed.proj'),
        ):
            name = name.replace(ours, theirs)
        official[name] = value
    return official


def loaded(tmp_path, file: dict, **settings) -> SwinTransformer:
    torch.save(file, tmp_path / 'file.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))
    model = SwinTransformer(**{**TINY, 'init_cfg': init_cfg, **settings})
    model.init_weights()
    return model


def assert_same_weights(model: SwinTransformer, expected: dict, but: tuple = ()) -> None:
    for name, value in model.state_dict().items():
        if not name.startswith(but):
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize('hw', [(4, 6), (3, 5)])
def test_merging_with_converted_weights_is_microsofts(hw):
    torch.manual_seed(0)
    official_norm, official_reduction = nn.LayerNorm(12), nn.Linear(12, 6, bias=False)
    nn.init.normal_(official_norm.weight)
    nn.init.normal_(official_norm.bias)
    x = torch.randn(2, *hw, 3)
    padded = F.pad(x, (0, 0, 0, hw[1] % 2, 0, hw[0] % 2))
    neighbours = [padded[:, r::2, c::2] for c in (0, 1) for r in (0, 1)]
    expected = official_reduction(official_norm(torch.cat(neighbours, -1))).flatten(1, 2)

    merging = PatchMerging(3)
    merging.load_state_dict(
        {
            'norm.weight': reorder_merged_channels(official_norm.weight),
            'norm.bias': reorder_merged_channels(official_norm.bias),
            'reduction.weight': reorder_merged_channels(official_reduction.weight),
        }
    )
    actual, new_hw = merging(x.flatten(1, 2), hw)
    assert new_hw == ((hw[0] + 1) // 2, (hw[1] + 1) // 2)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_imagenet_file_of_microsoft(tmp_path):
    """No output norms; a classifier, its norm and shift masks to leave out."""
    source = tiny(0).state_dict()
    file = {k: v for k, v in microsoft_names(source).items() if not k.startswith('norm')}
    file |= {
        'norm.weight': torch.zeros(16),
        'norm.bias': torch.zeros(16),
        'head.weight': torch.zeros(5, 16),
        'layers.0.blocks.1.attn_mask': torch.zeros(4, 9, 9),
    }
    model = loaded(tmp_path, {'model': file})
    assert_same_weights(model, source, but=('norm', 'stages.0.downsample'))
    assert model.norm1.weight.eq(1).all() and model.norm1.bias.eq(0).all()
    for key in ('norm.weight', 'norm.bias', 'reduction.weight'):
        name = f'stages.0.downsample.{key}'
        assert torch.equal(model.state_dict()[name], reorder_merged_channels(source[name]))


def test_detector_file_of_microsoft(tmp_path):
    source = tiny(0).state_dict()
    file = {f'backbone.{name}': value for name, value in microsoft_names(source).items()}
    file['neck.lateral_convs.0.conv.weight'] = file['rpn_head.rpn_cls.bias'] = torch.zeros(3)
    model = loaded(tmp_path, {'meta': {}, 'state_dict': file})
    assert_same_weights(model, source, but=('stages.0.downsample',))


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'detector.backbone.'])
def test_files_of_ours_are_taken_as_they_are(tmp_path, prefix):
    source = tiny(0).state_dict()
    file = {prefix + name: value for name, value in source.items()}
    if prefix:
        file['prompt_predictor.query'] = torch.zeros(5, 8)
    assert_same_weights(loaded(tmp_path, {'state_dict': file}), source)


def cubic(distance: float) -> float:
    """The convolution kernel of bicubic resizing (Keys, 1981) with a = -0.75, PyTorch's choice."""
    d = abs(distance)
    if d <= 1:
        return 1.25 * d**3 - 2.25 * d**2 + 1
    return -0.75 * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def resampled(values: list[float], size: int) -> list[float]:
    """One axis, half-pixel centres, border values repeated."""
    out = []
    for i in range(size):
        centre = (i + 0.5) * len(values) / size - 0.5
        near = range(int(centre + 2) - 3, int(centre + 2) + 2)
        clamped = [min(max(k, 0), len(values) - 1) for k in near]
        terms = zip(near, clamped, strict=True)
        out.append(sum(cubic(centre - k) * values[source] for k, source in terms))
    return out


def test_tables_of_another_window_are_resampled(tmp_path):
    source = tiny(0).state_dict()
    name = 'stages.0.blocks.1.attn.w_msa.relative_position_bias_table'
    model = loaded(tmp_path, source, window_size=5)
    table = model.state_dict()[name]
    assert table.shape == (81, 2)
    for head in range(2):
        rows = [resampled(row.tolist(), 9) for row in source[name][:, head].view(5, 5)]
        columns = [resampled(list(column), 9) for column in zip(*rows, strict=True)]
        expected = torch.tensor(columns).t().flatten()
        torch.testing.assert_close(table[:, head], expected, rtol=0, atol=1e-5)
    assert_same_weights(model, source, but=('stages.0.blocks', 'stages.1.blocks'))


def test_a_file_of_another_model_is_refused(tmp_path):
    deeper = tiny(0, depths=(2, 4)).state_dict()
    with pytest.raises(ValueError, match=r'does not fit SwinTransformer.*stages\.1\.blocks\.2'):
        loaded(tmp_path, deeper)
    with pytest.raises(ValueError, match=r'missing .*patch_embed'):
        loaded(tmp_path, {'conv1.weight': torch.zeros(3)})
