"""The layers of a Swin Transformer: patch embedding, blocks with their FFN, patch merging.

B: images, C: channels of a stage, H, W: its token map, P: prompts (none in a plain Swin, see
`STPNSwinTransformer`), R = P + H*W: rows, M: windows of an image, T: tokens of a window. Every map
of tokens is [B, R, C].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import stochastic_depth

from mmdet.core.errors import ConfigError
from mmdet.models.backbones.pieces import row_by_row
from mmdet.models.backbones.window_attention import ShiftedWindowAttention


class DropPath(nn.Module):
    """Stochastic depth: in training the residual branch of a whole image is dropped at `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return stochastic_depth(x, self.rate, 'row')


class FFN(nn.Module):
    """Linear, exact GELU, Linear; the nesting gives the released names."""

    def __init__(self, dim: int, hidden: int, drop_rate: float) -> None:
        super().__init__()
        widen = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(drop_rate))
        self.hidden = hidden
        self.layers = nn.Sequential(widen, nn.Linear(hidden, dim), nn.Dropout(drop_rate))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x)); attention may see another frame too, whose
    `keys_values` its caller keeps (`reference`)."""

    def __init__(self, attn: ShiftedWindowAttention, ffn: FFN, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = ffn
        self.drop_path = DropPath(drop_path)

    def keys_values(self, x: Tensor, hw: tuple[int, int]) -> Tensor:
        """What `forward` takes of a reference frame's map [B, H*W, C]: [B, M*T, 2C]."""
        return self.attn.keys_values(self.norm1(x), hw)

    def forward(
        self,
        x: Tensor,
        hw: tuple[int, int],
        num_prompts: int = 0,
        reference: Tensor | None = None,
    ) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), hw, num_prompts, reference))
        branch = row_by_row(lambda rows: self.ffn(self.norm2(rows)), x, self.ffn.hidden)
        return x + self.drop_path(branch)


class PatchEmbed(nn.Module):
    """Non-overlapping square patches to tokens, the image zero-padded at its right and bottom."""

    def __init__(self, in_channels: int, dim: int, patch_size: int, norm: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """[B, 3, h, w] -> tokens [B, H*W, C] and (H, W)."""
        size = self.patch_size
        image = F.pad(image, (0, -image.shape[-1] % size, 0, -image.shape[-2] % size))
        hw = image.shape[-2] // size, image.shape[-1] // size
        patches = image.unflatten(3, (hw[1], size)).unflatten(2, (hw[0], size))  # [B,3,H,s,W,s]
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(len(image), hw[0] * hw[1], -1)
        # The convolution as a product gives tokens at once, where it would give a map to transpose.
        tokens = F.linear(patches, self.projection.weight.flatten(1), self.projection.bias)
        return self.norm(tokens), hw


class PatchMerging(nn.Module):
    """2x2 neighbours, zero-padded at the right and bottom, to one token of twice the width.

    The released weights expect the 4C channels as `channel * 4 + row * 2 + column`; they are
    reordered here, as tokens are cheaper to lay out as `(row * 2 + column) * C + channel`.

    A prompt has no neighbours: `tile` (of the released STPN weights) puts four copies of it one
    after the other, `interleave` repeats each channel, as if all neighbours were this prompt.
    """

    def __init__(self, dim: int, prompt_layout: str = 'tile') -> None:
        super().__init__()
        if prompt_layout not in ('tile', 'interleave'):
            raise ConfigError(
                f"prompt_layout {prompt_layout!r}: expected 'tile' (released) or 'interleave'."
            )
        self.prompt_layout = prompt_layout
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(
        self, x: Tensor, hw: tuple[int, int], num_prompts: int = 0
    ) -> tuple[Tensor, tuple[int, int]]:
        """[B, P + H*W, C] -> [B, P + ceil(H/2)*ceil(W/2), 2C] and the new (H, W)."""
        patches = x[:, num_prompts:].unflatten(1, hw)
        patches = F.pad(patches, (0, 0, 0, hw[1] % 2, 0, hw[0] % 2))
        hw = patches.shape[1] // 2, patches.shape[2] // 2
        grouped = patches.unflatten(2, (hw[1], 2)).unflatten(1, (hw[0], 2))  # [B, H, 2, W, 2, C]
        tokens = grouped.transpose(2, 3).reshape(len(x), hw[0] * hw[1], -1)
        if num_prompts:
            tokens = torch.cat([self._widen(x[:, :num_prompts]), tokens], dim=1)
        weight, bias, reduction = (
            w.unflatten(-1, (-1, 4)).transpose(-1, -2).flatten(-2)
            for w in (self.norm.weight, self.norm.bias, self.reduction.weight)
        )
        tokens = F.layer_norm(tokens, self.norm.normalized_shape, weight, bias, self.norm.eps)
        return F.linear(tokens, reduction), hw

    def _widen(self, prompts: Tensor) -> Tensor:
        """[B, P, C] -> [B, P, 4C] in the order of `tokens` above."""
        tiled = prompts.repeat(1, 1, 4)
        if self.prompt_layout == 'interleave':
            return tiled
        return tiled.unflatten(-1, (-1, 4)).transpose(-1, -2).flatten(-2)
