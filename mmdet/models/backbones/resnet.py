"""ResNet backbone (arXiv 1512.03385) with frozen stages and batch norm in eval mode."""

from functools import partial

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mmdet.core.errors import ConfigError
from mmdet.models.backbones.pretrained import load_pretrained
from mmdet.registry import MODELS


class DilatedBasicBlock(BasicBlock):
    """torchvision's basic block, which refuses dilation, with its first convolution dilated."""

    def __init__(self, *args, dilation: int = 1, **kwargs) -> None:
        super().__init__(*args, dilation=1, **kwargs)
        self.conv1.dilation = self.conv1.padding = (dilation, dilation)


BLOCKS = {
    18: (DilatedBasicBlock, (2, 2, 2, 2)),
    34: (DilatedBasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
STYLES = ('pytorch', 'caffe')


@MODELS.register_module()
class ResNet(nn.Module):
    """ResNet; every block of a stage has its dilation.

    Args:
        depth: 18, 34, 50 or 101.
        base_channels: width of the stem (64); a narrow one trains on a CPU.
        strides, dilations: per stage. DC5 is strides (1, 2, 2, 1), dilations (1, 1, 1, 2).
        out_indices: stages (from 0) whose output is returned.
        frozen_stages: the stem and this many stages are not trained; -1 trains everything.
        norm_eval: batch norm keeps its statistics in training.
        norm_frozen: weight and bias of batch norm are not trained either, in any stage.
        norm_eps: added to the variance. Weights whose statistics are folded into the scale need 0.
        style: 'pytorch' has the stride of a bottleneck in its 3x3 convolution, 'caffe' in the first
            1x1, as the weights that Detectron converted from Caffe want it.
        init_cfg: `dict(type='Pretrained', checkpoint=...)` with a file, an address or
            `torchvision://resnet50`; loaded by `init_weights`, that is, when training.
        num_stages: accepted for 1.x configs; only 4 exists.
    """

    def __init__(
        self,
        depth: int,
        base_channels: int = 64,
        strides: tuple[int, ...] = (1, 2, 2, 2),
        dilations: tuple[int, ...] = (1, 1, 1, 1),
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = True,
        norm_frozen: bool = False,
        norm_eps: float = 1e-5,
        init_cfg: dict | None = None,
        num_stages: int = 4,
        style: str = 'pytorch',
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ConfigError(f'ResNet depth {depth} is unknown. Known: {sorted(BLOCKS)}.')
        if num_stages != 4 or style not in STYLES:
            raise ConfigError(
                f'ResNet has num_stages=4 and a style of {STYLES} here, got {num_stages} and '
                f'{style!r}.'
            )
        self.depth = depth
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.norm_frozen = norm_frozen
        self.init_cfg = init_cfg

        self.conv1 = nn.Conv2d(3, base_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        block, depths = BLOCKS[depth]
        width, channels = base_channels, base_channels
        self.out_channels = []
        for i, num_blocks in enumerate(depths):
            stage = _stage(block, num_blocks, channels, width, strides[i], dilations[i])
            self.add_module(f'layer{i + 1}', stage)
            channels = width * block.expansion
            self.out_channels.append(channels)
            width *= 2
        if style == 'caffe':
            self._move_strides()
        for norm in self._norms():
            norm.eps = norm_eps
        self._random_init()
        self._freeze()

    @property
    def stages(self) -> list[nn.Sequential]:
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]

    def _move_strides(self) -> None:
        """From the 3x3 convolution of every bottleneck to the 1x1 before it."""
        for module in self.modules():
            if isinstance(module, Bottleneck):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride

    def _random_init(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def init_weights(self) -> None:
        """Load what `init_cfg` names; without it the random initialisation stays."""
        load_pretrained(self, self.init_cfg, drop_prefixes=('fc.',))

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        return [self.conv1, self.bn1, *self.stages[: self.frozen_stages]]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.requires_grad_(False)
        if self.norm_frozen:
            for norm in self._norms():
                norm.requires_grad_(False)

    def train(self, mode: bool = True) -> 'ResNet':
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if mode and self.norm_eval:
            for norm in self._norms():
                norm.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[N, 3, H, W] -> one map per index of `out_indices`, strides 4, 8, 16, 32 for FPN."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        outs = []
        for i, stage in enumerate(self.stages[: max(self.out_indices) + 1]):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)


def _stage(
    block: type[nn.Module], depth: int, in_channels: int, width: int, stride: int, dilation: int
) -> nn.Sequential:
    """One stage. All its blocks are dilated: torchvision leaves the first one undilated."""
    out_channels = width * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    make = partial(block, planes=width, dilation=dilation)
    first = make(inplanes=in_channels, stride=stride, downsample=downsample)
    return nn.Sequential(first, *(make(inplanes=out_channels) for _ in range(depth - 1)))
