"""Swin weights of other sources."""

import pytest
import torch
from torch import nn

from mmdet.models.backbones import SwinTransformer

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
