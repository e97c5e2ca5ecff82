"""CSPDarknet, the backbone of YOLOX (arXiv 2107.08430)."""

from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.backbones.csp_layers import CSPLayer, Focus, SPPBottleneck, conv_bn_swish
from mmdet.models.backbones.pretrained import load_pretrained
from mmdet.registry import MODELS

# per stage: channels, blocks, whether blocks add their input, spatial pyramid pooling
STAGES = (
    (128, 3, True, False),
    (256, 9, True, False),
    (512, 9, True, False),
    (1024, 3, False, True),
)
STEM_CHANNELS = 64


@MODELS.register_module()
class CSPDarknet(nn.Module):
    """Maps of strides 8, 16, 32 by default.

    Args:
        deepen_factor: blocks of a stage are multiplied by it (S 0.33, M 0.67, L 1).
        widen_factor: channels are multiplied by it (S 0.5, M 0.75, L 1).
        out_indices: of the stages, 1 (stride 4) to 4 (stride 32).
        norm_eval: batch norm keeps its statistics in training.
    """

    def __init__(
        self,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        out_indices: tuple[int, ...] = (2, 3, 4),
        norm_eval: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if not out_indices or not set(out_indices) <= {1, 2, 3, 4}:
            raise ConfigError(f'CSPDarknet: out_indices={out_indices!r}: stages are 1 to 4.')
        self.out_indices = tuple(out_indices)
        self.norm_eval = norm_eval
        self.init_cfg = init_cfg
        channels = int(STEM_CHANNELS * widen_factor)
        self.stem = Focus(3, channels)
        self.out_channels = [channels]  # of the stem, then of every stage
        for i, (wide, blocks, add_identity, pooling) in enumerate(STAGES, start=1):
            out = int(wide * widen_factor)
            depth = max(round(blocks * deepen_factor), 1)
            layers = [conv_bn_swish(channels, out, 3, stride=2)]
            layers += [SPPBottleneck(out)] if pooling else []
            layers.append(CSPLayer(out, out, depth, add_identity))
            self.add_module(f'stage{i}', nn.Sequential(*layers))
            channels = out
            self.out_channels.append(out)

    def init_weights(self) -> None:
        load_pretrained(self, self.init_cfg)

    def train(self, mode: bool = True) -> 'CSPDarknet':
        super().train(mode)
        for module in self.modules() if self.norm_eval else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[N, 3, H, W], sides even, -> one map per index of `out_indices`."""
        x = self.stem(x)
        outs = []
        for i in range(1, max(self.out_indices) + 1):
            x = getattr(self, f'stage{i}')(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
