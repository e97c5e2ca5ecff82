"""Necks: from backbone channels to the detector's."""

from collections import OrderedDict
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.registry import MODELS


def conv_module(
    in_channels: int, out_channels: int, kernel: int, relu: bool = False, stride: int = 1
) -> nn.Sequential:
    """A convolution with bias named `conv`, Xavier-uniform, with an optional ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)
    activate = dict(activate=nn.ReLU(inplace=True)) if relu else {}
    return nn.Sequential(OrderedDict(conv=conv, **activate))


@MODELS.register_module()
class ChannelMapper(nn.Module):
    """One convolution and ReLU per level: [N, C_i, H_i, W_i] -> [N, out_channels, H_i, W_i].

    Args:
        kept_levels: so many levels come first and pass as they are.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        kernel_size: int = 3,
        kept_levels: int = 0,
    ) -> None:
        super().__init__()
        self.kept_levels = kept_levels
        self.convs = nn.ModuleList(
            conv_module(c, out_channels, kernel_size, relu=True) for c in in_channels
        )

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        kept, mapped = feats[: self.kept_levels], feats[self.kept_levels :]
        return (*kept, *(conv(x) for conv, x in zip(self.convs, mapped, strict=True)))


@MODELS.register_module()
class FPN(nn.Module):
    """Feature pyramid (arXiv 1612.03144): lateral 1x1, nearest top-down sum, 3x3 output.

    Args:
        in_channels: of each input level, finest first.
        num_outs: output levels; those beyond the inputs halve the level before them.
        start_level: input levels before this one are not used.
        add_extra_convs: how they are halved: False, by subsampling; 'on_output', by a 3x3
            convolution of the output before them (RetinaNet, arXiv 1708.02002, on P5).
        relu_before_extra_convs: ReLU in front of all of these convolutions but the first.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        num_outs: int,
        start_level: int = 0,
        add_extra_convs: bool | str = False,
        relu_before_extra_convs: bool = False,
    ) -> None:
        super().__init__()
        _check_levels(len(in_channels), num_outs, start_level)
        if add_extra_convs not in (False, 'on_output'):
            raise ConfigError(f"FPN: add_extra_convs={add_extra_convs!r}: False or 'on_output'.")
        self.num_outs = num_outs
        self.start_level = start_level
        self.relu_before_extra_convs = relu_before_extra_convs
        used = in_channels[start_level:]
        self.lateral_convs = nn.ModuleList(conv_module(c, out_channels, 1) for c in used)
        self.fpn_convs = nn.ModuleList(conv_module(out_channels, out_channels, 3) for _ in used)
        if add_extra_convs:
            self.fpn_convs.extend(
                conv_module(out_channels, out_channels, 3, stride=2)
                for _ in range(num_outs - len(used))
            )

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        used = feats[self.start_level :]
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, used, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            size = laterals[i - 1].shape[2:]
            laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], size, mode='nearest')
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=False)]
        return (*outs, *self._coarser(outs[-1]))

    def _coarser(self, x: Tensor) -> Iterator[Tensor]:
        """The output levels after the last input, each from the one before."""
        first = len(self.lateral_convs)
        for i in range(first, self.num_outs):
            if len(self.fpn_convs) == first:
                x = F.max_pool2d(x, kernel_size=1, stride=2)
            else:
                with_relu = self.relu_before_extra_convs and i > first
                x = self.fpn_convs[i](F.relu(x) if with_relu else x)
            yield x


def _check_levels(inputs: int, outputs: int, start_level: int) -> None:
    if not 0 <= start_level < inputs:
        raise ConfigError(f'FPN: start_level={start_level} is none of the {inputs} input levels.')
    if outputs < inputs - start_level:
        raise ConfigError(f'num_outs={outputs} is below the {inputs - start_level} input levels.')
