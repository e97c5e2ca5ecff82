"""Building blocks of CSPDarknet and of the pyramid that goes with it (arXiv 2107.08430)."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOL, POOLS = 5, 3  # the spatial pyramid pools windows of 5, 9 and 13: 5 once, twice, three times


def conv_bn_swish(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1
) -> nn.Sequential:
    """Convolution `conv` without bias, batch norm `bn`, x * sigmoid(x); [N, C, H, W]."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
    )
    norm = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm, activate=nn.SiLU(inplace=True)))


class Focus(nn.Module):
    """Half the side, four times the channels, then a 3x3 convolution: [N, 3, H, W] -> H / 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = conv_bn_swish(in_channels * 4, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The four pixels of a 2x2 block become channels: top left, bottom left, top right,
        bottom right."""
        quarters = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(quarters, dim=1))


class SPPBottleneck(nn.Module):
    """Half the channels, max pools of several windows beside it, and a 1x1 over all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = conv_bn_swish(channels, half, 1)
        self.conv2 = conv_bn_swish(half * (POOLS + 1), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.conv1(x)]
        for _ in range(POOLS):
            pooled.append(F.max_pool2d(pooled[-1], POOL, stride=1, padding=POOL // 2))
        return self.conv2(torch.cat(pooled, dim=1))


class DarknetBottleneck(nn.Module):
    """1x1, 3x3, with or without the input added."""

    def __init__(self, channels: int, add_identity: bool) -> None:
        super().__init__()
        self.conv1 = conv_bn_swish(channels, channels, 1)
        self.conv2 = conv_bn_swish(channels, channels, 3)
        self.add_identity = add_identity

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.add_identity else y


class CSPLayer(nn.Module):
    """Two halves of the channels: one through the blocks, one past them (arXiv 1911.11929)."""

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, add_identity: bool
    ) -> None:
        super().__init__()
        half = out_channels // 2
        self.main_conv = conv_bn_swish(in_channels, half, 1)
        self.short_conv = conv_bn_swish(in_channels, half, 1)
        self.final_conv = conv_bn_swish(2 * half, out_channels, 1)
        self.blocks = nn.Sequential(
            *(DarknetBottleneck(half, add_identity) for _ in range(num_blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        main = self.blocks(self.main_conv(x))
        return self.final_conv(torch.cat([main, self.short_conv(x)], dim=1))
