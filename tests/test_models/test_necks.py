"""Necks whose effect no stored results of other implementations show."""

import pytest
import torch
import torch.nn.functional as F

from mmdet.models.necks import FPN, ChannelMapper, CTResNetNeck
from mmdet.models.necks.ct_resnet_neck import ModulatedDeformConv

CHANNELS = [4, 6, 8, 10]
pytestmark = pytest.mark.usefixtures('no_grad')


@pytest.fixture
def no_grad():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def test_levels_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match='num_outs=2 is below the 3 input levels'):
        FPN(CHANNELS, 8, num_outs=2, start_level=1)
    with pytest.raises(ValueError, match="add_extra_convs='on_input': False or 'on_output'"):
        FPN(CHANNELS, 8, 5, add_extra_convs='on_input')


def test_channel_mapper_is_a_3x3_convolution_and_relu_and_may_keep_the_first_maps():
    neck = ChannelMapper([6], out_channels=3, kept_levels=1)
    c4, c5 = torch.rand(2, 4, 7, 9), torch.rand(2, 6, 7, 9)
    expected = F.conv2d(c5, neck.convs[0].conv.weight, padding=1)
    kept, mapped = neck((c4, c5))
    assert kept is c4 and (expected < 0).any()
    torch.testing.assert_close(mapped, expected.clamp(min=0))


@pytest.mark.parametrize('point', [0, 5, 7])
def test_a_point_of_a_deformed_convolution_moves_and_weighs_as_it_is_told(point):
    """Shifts are (y, x) point by point, then come the weights; a whole pixel is another map."""
    conv, x = ModulatedDeformConv(2, 3), torch.randn(1, 2, 5, 6)
    conv.conv_offset.bias[2 * point] = 1.0  # down
    conv.conv_offset.bias[18 + point] = 50.0  # twice as strong as the others
    alone = torch.zeros_like(conv.weight)
    alone[:, :, point // 3, point % 3] = conv.weight[:, :, point // 3, point % 3]
    others = 0.5 * F.conv2d(x, conv.weight - alone, padding=1)
    moved = F.conv2d(F.pad(x, (0, 0, 0, 1))[:, :, 1:], alone, padding=1)
    torch.testing.assert_close(conv(x)[:, :, 1:], (others + moved)[:, :, 1:])


def test_centernet_neck_has_the_released_names_and_eight_times_the_side():
    (out,) = CTResNetNeck(16, (8, 4, 2))((torch.rand(1, 16, 3, 5),))
    assert out.shape == (1, 2, 24, 40)
    neck = CTResNetNeck(16, (8, 4))
    names = [*(f'{i}.{part}' for i in range(4) for part in ('bn', 'conv'))]
    names += ['0.conv.conv_offset', '2.conv.conv_offset']
    found = {name.rsplit('.', 1)[0] for name in neck.state_dict()}
    assert found == {f'deconv_layers.{name}' for name in names}
    assert neck.deconv_layers[0].conv.conv_offset.weight.shape[0] == 27
