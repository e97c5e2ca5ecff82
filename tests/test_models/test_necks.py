import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmdet.models.necks import FPN, ChannelMapper

CHANNELS = [4, 6, 8, 10]


def maps(height: int, width: int) -> tuple[torch.Tensor, ...]:
    """Four maps of strides 4 to 32, each of half the side of the one before, rounded up."""
    torch.manual_seed(0)
    sizes = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]
    return tuple(torch.rand(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True))


def nearest(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each target cell takes source cell floor(target * in / out)."""
    rows = [i * x.shape[2] // size[0] for i in range(size[0])]
    columns = [j * x.shape[3] // size[1] for j in range(size[1])]
    return x[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize('size', [(192, 320), (208, 336), (48, 80)])
@torch.no_grad()
def test_pyramid_equals_a_literal_top_down_sum(size):
    fpn, feats = FPN(CHANNELS, out_channels=5, num_outs=5), maps(*size)
    lateral = [
        torch.einsum('oi,nihw->nohw', conv.conv.weight[:, :, 0, 0], x).numpy()
        for conv, x in zip(fpn.lateral_convs, feats, strict=True)
    ]
    for i in (3, 2, 1):
        lateral[i - 1] = lateral[i - 1] + nearest(lateral[i], lateral[i - 1].shape[2:])
    expected = [
        F.conv2d(torch.tensor(x), conv.conv.weight, padding=1)
        for conv, x in zip(fpn.fpn_convs, lateral, strict=True)
    ]
    expected.append(expected[3][:, :, ::2, ::2])
    found = fpn(feats)
    assert found[4].shape[2:] == tuple(-(-s // 2) for s in feats[3].shape[2:])
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('relu', [True, False])
@torch.no_grad()
def test_extra_levels_are_strided_convolutions_of_the_output_before(relu):
    fpn = FPN(CHANNELS, 5, 5, start_level=1, add_extra_convs='on_output',
              relu_before_extra_convs=relu)  # fmt: skip
    for parameter in fpn.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    feats = maps(208, 336)
    plain = FPN(CHANNELS[1:], 5, 3)
    plain.load_state_dict(
        {
            k: v
            for k, v in fpn.state_dict().items()
            if not k.startswith(('fpn_convs.3.', 'fpn_convs.4.'))
        }
    )
    expected = list(plain(feats[1:]))
    for conv, with_relu in ((fpn.fpn_convs[3], False), (fpn.fpn_convs[4], relu)):
        x = expected[-1].clamp(min=0) if with_relu else expected[-1]
        dense = F.conv2d(x, conv.conv.weight, conv.conv.bias, padding=1)
        expected.append(dense[:, :, ::2, ::2])
    found = fpn(feats)
    assert len(found) == 5 and (expected[3] < 0).any()
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_channel_mapper_is_a_3x3_convolution_and_relu():
    neck, x = ChannelMapper([6], out_channels=3), torch.rand(2, 6, 7, 9)
    padded = F.pad(x, (1, 1, 1, 1))
    weight = neck.convs[0].conv.weight
    y = sum(
        torch.einsum('oi,nihw->nohw', weight[:, :, r, c], padded[:, :, r : r + 7, c : c + 9])
        for r in range(3)
        for c in range(3)
    )
    (found,) = neck((x,))
    torch.testing.assert_close(found, y.clamp(min=0), rtol=1e-5, atol=1e-5)
    assert (y < 0).any()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(num_outs=3), 'num_outs=3 is below the 4 input levels'),
        (dict(num_outs=2, start_level=1), 'num_outs=2 is below the 3 input levels'),
        (dict(start_level=4), 'start_level=4 is none of the 4 input levels'),
        (dict(add_extra_convs='on_input'), "add_extra_convs='on_input': False or 'on_output'"),
    ],
)
def test_levels_that_cannot_be_made_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FPN(**{'in_channels': CHANNELS, 'out_channels': 8, 'num_outs': 5, **change})
