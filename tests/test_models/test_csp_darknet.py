"""CSPDarknet and its pyramid: the order of channels and layers, against literal versions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import CSPDarknet
from mmdet.models.backbones.csp_layers import CSPLayer, Focus, SPPBottleneck
from mmdet.models.necks import YOLOXPAFPN

X = torch.rand(2, 8, 6, 10, generator=torch.manual_seed(0))


def swish(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + (-x).exp())


def step(layer: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Convolution, norm with running statistics, swish."""
    conv, bn = layer.conv, layer.bn
    x = F.conv2d(x, conv.weight, stride=conv.stride, padding=conv.weight.shape[-1] // 2)
    scale = bn.weight / (bn.running_var + 1e-3).sqrt()
    shift = bn.bias - bn.running_mean * scale
    return swish(x * scale[:, None, None] + shift[:, None, None])


def lively(module: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for bn in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        nn.init.normal_(bn.bias, std=0.3)
        nn.init.normal_(bn.running_mean, std=0.3)
        nn.init.uniform_(bn.running_var, 0.5, 2)
    return module.eval()


def csp(layer: CSPLayer, x: torch.Tensor, add: bool) -> torch.Tensor:
    main = step(layer.main_conv, x)
    for block in layer.blocks:
        y = step(block.conv2, step(block.conv1, main))
        main = main + y if add else y
    return step(layer.final_conv, torch.cat([main, step(layer.short_conv, x)], 1))


@torch.no_grad()
def test_focus_takes_the_pixels_of_a_block_column_by_column():
    focus = lively(Focus(8, 4))
    stacked = torch.stack([X[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=1).flatten(
        1, 2
    )
    torch.testing.assert_close(focus(X), step(focus.conv, stacked))


@torch.no_grad()
def test_pools_of_three_windows_beside_the_map_itself():
    layer = lively(SPPBottleneck(8))
    x = step(layer.conv1, X)
    pooled = [x]
    for size in (5, 9, 13):
        r = size // 2
        wide = F.pad(x, (r, r, r, r), value=-torch.inf)
        pooled.append(wide.unfold(2, size, 1).unfold(3, size, 1).amax(dim=(-1, -2)))
    torch.testing.assert_close(layer(X), step(layer.conv2, torch.cat(pooled, 1)))


@pytest.mark.parametrize('add', [True, False])
@torch.no_grad()
def test_half_of_a_csp_layer_goes_past_the_blocks(add):
    layer = lively(CSPLayer(8, 12, 2, add))
    torch.testing.assert_close(layer(X), csp(layer, X, add))


@torch.no_grad()
def test_pyramid_goes_down_and_up_again():
    neck = lively(YOLOXPAFPN([4, 8, 16], 6, num_csp_blocks=1))
    p3, p4, p5 = torch.rand(2, 4, 8, 12), torch.rand(2, 8, 4, 6), torch.rand(2, 16, 2, 3)

    def up(x):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    lateral5 = step(neck.reduce_layers[0], p5)
    mid4 = csp(neck.top_down_blocks[0], torch.cat([up(lateral5), p4], 1), False)
    lateral4 = step(neck.reduce_layers[1], mid4)
    out3 = csp(neck.top_down_blocks[1], torch.cat([up(lateral4), p3], 1), False)
    joined = torch.cat([step(neck.downsamples[0], out3), lateral4], 1)
    out4 = csp(neck.bottom_up_blocks[0], joined, False)
    joined = torch.cat([step(neck.downsamples[1], out4), lateral5], 1)
    out5 = csp(neck.bottom_up_blocks[1], joined, False)
    expected = [step(c, x) for c, x in zip(neck.out_convs, (out3, out4, out5), strict=True)]
    for x, y in zip(neck((p3, p4, p5)), expected, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize(('deepen', 'widen', 'channels', 'blocks'), [
    (0.33, 0.5, [128, 256, 512], [1, 3, 3, 1]),
    (0.67, 0.75, [192, 384, 768], [2, 6, 6, 2]),
    (1.0, 1.0, [256, 512, 1024], [3, 9, 9, 3]),
])  # fmt: skip
def test_sizes_s_m_l(deepen, widen, channels, blocks):
    with torch.device('meta'):
        model = CSPDarknet(deepen, widen)
        maps = model(torch.zeros(1, 3, 64, 96))
    assert channels == [x.shape[1] for x in maps]
    assert channels == [model.out_channels[i] for i in model.out_indices]
    assert [x.shape[-2:] for x in maps] == [(8, 12), (4, 6), (2, 3)]
    assert [len(getattr(model, f'stage{i}')[-1].blocks) for i in (1, 2, 3, 4)] == blocks


def test_statistics_stand_still_when_asked_to():
    model = CSPDarknet(0.33, 0.125, norm_eval=True).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.rand(1, 3, 32, 32))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_unknown_stages_are_refused():
    with pytest.raises(ConfigError, match='stages are 1 to 4'):
        CSPDarknet(out_indices=(0, 5))
