"""Necks against literal versions of their layers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.necks import FPN, YOLOXPAFPN, ChannelMapper, CTResNetNeck
from mmdet.models.necks.ct_resnet_neck import ModulatedDeformConv

CHANNELS = [4, 6, 8, 10]
pytestmark = pytest.mark.usefixtures('no_grad')


@pytest.fixture
def no_grad():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def maps(height: int, width: int) -> tuple[Tensor, ...]:
    """Four maps of strides 4 to 32, each of half the side of the one before, rounded up."""
    sizes = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]
    return tuple(torch.rand(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True))


def nearest(x: Tensor, like: Tensor) -> Tensor:
    """Each target cell takes source cell floor(target * in / out)."""
    rows, columns = (torch.arange(like.shape[i]) * x.shape[i] // like.shape[i] for i in (2, 3))
    return x[:, :, rows][:, :, :, columns]


def halved(conv: nn.Module, x: Tensor) -> Tensor:
    """A 3x3 convolution of stride 2, as every other value of a dense one."""
    return F.conv2d(x, conv.conv.weight, conv.conv.bias, padding=1)[:, :, ::2, ::2]


def assert_close(found, expected) -> None:
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('size', [(192, 320), (208, 336), (48, 80)])
def test_pyramid_equals_a_literal_top_down_sum(size):
    fpn, feats = FPN(CHANNELS, out_channels=5, num_outs=5), maps(*size)
    pairs = zip(fpn.lateral_convs, feats, strict=True)
    lateral = [torch.einsum('oi,nihw->nohw', c.conv.weight[:, :, 0, 0], x) for c, x in pairs]
    for i in (3, 2, 1):
        lateral[i - 1] = lateral[i - 1] + nearest(lateral[i], lateral[i - 1])
    pairs = zip(fpn.fpn_convs, lateral, strict=True)
    expected = [F.conv2d(x, c.conv.weight, padding=1) for c, x in pairs]
    assert_close(fpn(feats), [*expected, expected[3][:, :, ::2, ::2]])


@pytest.mark.parametrize('relu', [True, False])
def test_extra_levels_are_strided_convolutions_of_the_output_before(relu):
    options = dict(start_level=1, add_extra_convs='on_output', relu_before_extra_convs=relu)
    fpn, plain, feats = FPN(CHANNELS, 5, 5, **options), FPN(CHANNELS[1:], 5, 3), maps(208, 336)
    for parameter in fpn.parameters():
        nn.init.normal_(parameter, std=0.2)
    own = plain.state_dict()
    plain.load_state_dict({k: v for k, v in fpn.state_dict().items() if k in own})
    expected = [*plain(feats[1:])]
    expected.append(halved(fpn.fpn_convs[3], expected[-1]))
    x = expected[-1]
    assert (x < 0).any()
    expected.append(halved(fpn.fpn_convs[4], x.clamp(min=0) if relu else x))
    assert_close(fpn(feats), expected)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(num_outs=2, start_level=1), 'num_outs=2 is below the 3 input levels'),
        (dict(start_level=4), 'start_level=4 is none of the 4 input levels'),
        (dict(add_extra_convs='on_input'), "add_extra_convs='on_input': False or 'on_output'"),
    ],
)
def test_levels_that_cannot_be_made_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FPN(**{'in_channels': CHANNELS, 'out_channels': 8, 'num_outs': 5, **change})


def test_channel_mapper_is_a_3x3_convolution_and_relu_and_may_keep_the_first_maps():
    neck = ChannelMapper([6], out_channels=3, kept_levels=1)
    c4, c5 = torch.rand(2, 4, 7, 9), torch.rand(2, 6, 7, 9)
    expected = F.conv2d(c5, neck.convs[0].conv.weight, padding=1)
    kept, mapped = neck((c4, c5))
    assert kept is c4 and (expected < 0).any()
    torch.testing.assert_close(mapped, expected.clamp(min=0))


def test_yolox_pyramid_goes_down_and_up_again():
    neck = YOLOXPAFPN([4, 8, 16], 6, num_csp_blocks=1).eval()
    p3, p4, p5 = torch.rand(2, 4, 8, 12), torch.rand(2, 8, 4, 6), torch.rand(2, 16, 2, 3)
    down, up = neck.top_down_blocks, neck.bottom_up_blocks
    lateral5 = neck.reduce_layers[0](p5)
    mid4 = down[0](torch.cat([nearest(lateral5, p4), p4], 1))
    lateral4 = neck.reduce_layers[1](mid4)
    out3 = down[1](torch.cat([nearest(lateral4, p3), p3], 1))
    out4 = up[0](torch.cat([neck.downsamples[0](out3), lateral4], 1))
    out5 = up[1](torch.cat([neck.downsamples[1](out4), lateral5], 1))
    assert not any(block.add_identity for csp in (*down, *up) for block in csp.blocks)
    outs = zip(neck.out_convs, (out3, out4, out5), strict=True)
    assert_close(neck((p3, p4, p5)), [conv(x) for conv, x in outs])


# ---- CenterNet's


def test_deformed_convolution_equals_bilinear_samples():
    conv, x = ModulatedDeformConv(2, 3), torch.randn(1, 2, 5, 6)
    nn.init.normal_(conv.conv_offset.weight, std=0.3)
    shifts = conv.conv_offset(x)[0]
    wide = F.pad(x[0], (8, 8, 8, 8)).numpy()

    def sample(y: float, x: float) -> np.ndarray:
        y0, x0 = math.floor(y), math.floor(x)
        corners = ((y0 + i, x0 + j) for i in (0, 1) for j in (0, 1))
        weights = ((i, j, (1 - abs(y - i)) * (1 - abs(x - j))) for i, j in corners)
        return sum(weight * wide[:, i + 8, j + 8] for i, j, weight in weights)

    found = conv(x)[0]
    for i, j in np.ndindex(5, 6):
        total = np.zeros(3)
        for k in range(9):
            y, column = (i + k // 3 - 1, j + k % 3 - 1) + shifts[2 * k : 2 * k + 2, i, j].numpy()
            weight = torch.sigmoid(shifts[18 + k, i, j]).item()
            total += weight * conv.weight[:, :, k // 3, k % 3].numpy() @ sample(y, column)
        np.testing.assert_allclose(found[:, i, j], total, rtol=1e-4, atol=1e-5)


def test_centernet_neck_has_the_released_names_and_eight_times_the_side():
    (out,) = CTResNetNeck(16, (8, 4, 2))((torch.rand(1, 16, 3, 5),))
    assert out.shape == (1, 2, 24, 40)
    neck = CTResNetNeck(16, (8, 4))
    names = [*(f'{i}.{part}' for i in range(4) for part in ('bn', 'conv'))]
    names += ['0.conv.conv_offset', '2.conv.conv_offset']
    found = {name.rsplit('.', 1)[0] for name in neck.state_dict()}
    assert found == {f'deconv_layers.{name}' for name in names}
    assert neck.deconv_layers[0].conv.conv_offset.weight.shape[0] == 27


def test_first_channel_of_upsampling_starts_as_bilinear_interpolation():
    conv, x = CTResNetNeck(4, (2,)).deconv_layers[1].conv, torch.randn(1, 2, 6, 7)
    expected = F.interpolate(x.sum(1, keepdim=True), scale_factor=2, mode='bilinear')
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(conv(x)[:, :1][inner], expected[inner], rtol=1e-5, atol=1e-5)
