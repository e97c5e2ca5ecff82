"""Swin Transformer (Liu et al., ICCV 2021), with the parameter names of mmdetection 2.x.

B: images, C: channels of a stage, H, W: its token map, P: prompts (none here, see
`STPNSwinTransformer`). Tokens are [B, P + H*W, C] until the output.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmdet.core.errors import ConfigError
from mmdet.models.backbones.pieces import image_by_image
from mmdet.models.backbones.pretrained import load_pretrained
from mmdet.models.backbones.swin_convert import swin_weights
from mmdet.models.backbones.swin_layers import FFN, PatchEmbed, PatchMerging, SwinBlock
from mmdet.models.backbones.window_attention import ShiftedWindowAttention, WindowAttention
from mmdet.registry import MODELS


class SwinStage(nn.Module):
    """Blocks, every other one shifted, and the merging in front of the next stage."""

    def __init__(self, blocks: list[SwinBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


@MODELS.register_module()
class SwinTransformer(nn.Module):
    """Swin-T (by default), -S or -B: images to maps of stride 4, 8, 16, 32.

    Swin-S has depths (2, 2, 18, 2); Swin-B also embed_dims 128 and num_heads (4, 8, 16, 32).

    Args:
        embed_dims: channels of the first stage; each next one has twice as many.
        qk_scale: factor of the logits; None: 1 / sqrt(channels of a head).
        out_indices: stages that are returned, after a LayerNorm of their own (`norm{i}`).
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        frozen_stages: -1: nothing; k >= 0: the patch embedding and the first k stages with their
            output norms are not trained and stay in evaluation mode.
        with_cp: recompute each block in the backward pass: less memory, one more forward pass.
        convert_weights: whether the pretrained file has Microsoft's names; None: look.
        init_cfg: None, or dict(type='Pretrained', checkpoint=FILE_OR_ADDRESS): a file of
            Microsoft's, of mmdetection 2.x or of ours, of a backbone or a whole detector.
    """

    def __init__(
        self,
        in_channels: int = 3,
        embed_dims: int = 96,
        patch_size: int = 4,
        window_size: int = 7,
        mlp_ratio: float = 4,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        patch_norm: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        with_cp: bool = False,
        frozen_stages: int = -1,
        convert_weights: bool | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        _check_settings(embed_dims, depths, num_heads, out_indices, frozen_stages)
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.convert_weights = convert_weights
        self.init_cfg = init_cfg

        def block(dim: int, heads: int, index: int, drop_path: float) -> SwinBlock:
            shift = window_size // 2 if index % 2 else 0
            w_msa = WindowAttention(dim, heads, window_size, qkv_bias, qk_scale, attn_drop_rate)
            attn = ShiftedWindowAttention(w_msa, window_size, shift, drop_rate)
            return SwinBlock(attn, FFN(dim, int(mlp_ratio * dim), drop_rate), dim, drop_path)

        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size, patch_norm)
        self.drop_after_pos = nn.Dropout(drop_rate)
        drop_path_step = drop_path_rate / max(sum(depths) - 1, 1)
        self.stages = nn.ModuleList()
        for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            dim = embed_dims * 2**i
            before = sum(depths[:i])
            blocks = [block(dim, heads, j, (before + j) * drop_path_step) for j in range(depth)]
            last = i == len(depths) - 1
            self.stages.append(SwinStage(blocks, None if last else self._make_merging(dim)))
        self.num_features = [embed_dims * 2**i for i in range(len(depths))]
        for i in self.out_indices:
            self.add_module(f'norm{i}', nn.LayerNorm(self.num_features[i]))
        self._freeze()

    _images_meet = False  # images of a batch change each other's maps

    def _make_merging(self, dim: int) -> PatchMerging:
        return PatchMerging(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, h, w] normalised images, any size -> [B, C_i, H_i, W_i] for each of out_indices,
        channels last in memory."""
        return self._encode(x, None)

    def _encode(self, image: Tensor, prompts: Tensor | None) -> tuple[Tensor, ...]:
        """The maps of [B, 3, h, w] images, each seen together with its prompts [B, P, C]."""

        def encode(image: Tensor, prompts: Tensor | None) -> tuple[Tensor, ...]:
            return self._walk(image, prompts, lambda _, *inputs: self._run_block(*inputs))

        together = self._images_meet
        return encode(image, prompts) if together else image_by_image(encode, image, prompts)

    def _walk(
        self, image: Tensor, prompts: Tensor | None, run: Callable[..., Tensor]
    ) -> tuple[Tensor, ...]:
        """From images through all stages to the maps; `run` gives the output of a block from its
        place (stage, index), itself and its inputs."""
        x, hw = self.patch_embed(image)
        x, num_prompts = self.drop_after_pos(x), 0
        if prompts is not None:
            num_prompts = prompts.shape[1]
            x = torch.cat([prompts.to(x.dtype), x], dim=1)
        maps = []
        for i, stage in enumerate(self.stages):
            for j, block in enumerate(stage.blocks):
                x = run((i, j), block, x, hw, num_prompts)
            if i in self.out_indices:
                patches = getattr(self, f'norm{i}')(x[:, num_prompts:])
                maps.append(patches.unflatten(1, hw).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x, hw = stage.downsample(x, hw, num_prompts)
        return tuple(maps)

    def _run_block(self, block: SwinBlock, *inputs) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen = [self.patch_embed, self.drop_after_pos, *self.stages[: self.frozen_stages]]
        frozen += [getattr(self, f'norm{i}') for i in self.out_indices if i < self.frozen_stages]
        for module in frozen:
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> 'SwinTransformer':
        super().train(mode)
        self._freeze()
        return self

    def _own_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return swin_weights(state, self, self.convert_weights)

    def init_weights(self) -> None:
        """The pretrained file of `init_cfg`; without one, Swin's own random initialisation."""
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg, convert=self._own_weights)
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)


def _check_settings(
    embed_dims: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    out_indices: Sequence[int],
    frozen_stages: int,
) -> None:
    stages = len(depths)
    if len(num_heads) != stages:
        raise ConfigError(f'depths {depths} has {stages} stages, num_heads {num_heads} has not.')
    for i, heads in enumerate(num_heads):
        if embed_dims * 2**i % heads:
            raise ConfigError(
                f'Stage {i} has {embed_dims * 2**i} channels, which {heads} heads do not divide: '
                f'change embed_dims {embed_dims} or num_heads {num_heads}.'
            )
    if not set(out_indices) <= set(range(stages)) or list(out_indices) != sorted(set(out_indices)):
        raise ConfigError(f'out_indices {out_indices}: expected ascending stages, 0..{stages - 1}.')
    if not -1 <= frozen_stages <= stages:
        raise ConfigError(f'frozen_stages {frozen_stages}: expected -1 (nothing) to {stages}.')
