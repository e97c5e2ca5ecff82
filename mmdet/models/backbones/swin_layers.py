"""The layers of a Swin Transformer: patch embedding, window attention, FFN, patch merging.

B: images, C: channels of a stage, H, W: its token map, P: prompts (none in a plain Swin, see
`STPNSwinTransformer`), R = P + H*W: rows, M: windows of an image, T: tokens of a window.

Every map of tokens is [B, R, C]. On a CPU without gradients the work is done in pieces that stay in
the cache: at 1008x576 the hidden layer of the first stage alone is 56 MB, and fetching such buffers
from the system page by page took as long as the arithmetic.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.backbones.windows import (
    WindowGrid,
    from_windows,
    relative_position_index,
    to_windows,
    window_grid,
)

PIECE = 2**22  # bytes of the widest buffer of a piece of work


def in_pieces(x: Tensor) -> bool:
    return x.device.type == 'cpu' and not torch.is_grad_enabled()


def _rows_in_a_piece(x: Tensor, width: int) -> int:
    return max(1, PIECE // (width * _compute_dtype(x).itemsize))


def _row_by_row(function: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
    """`function(x)` for a function that treats rows alone; `width`: of its widest buffer."""
    if not in_pieces(x):
        return function(x)
    pieces = x.flatten(0, 1).split(_rows_in_a_piece(x, width))
    return torch.cat([function(piece) for piece in pieces]).unflatten(0, x.shape[:2])


def _compute_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class DropPath(nn.Module):
    """Stochastic depth: in training the residual branch of a whole image is dropped at `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(len(x), 1, 1).bernoulli_(keep).div_(keep)


class WindowAttention(nn.Module):
    """Multi-head attention among the tokens of a window, biased by their relative position.

    Only patch tokens have positions: logits to and from prompts get no bias.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale  # None: 1 / sqrt(dim of a head)
        self.attn_drop_rate = attn_drop_rate
        table = torch.zeros((2 * window_size - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(table)
        self.register_buffer('relative_position_index', relative_position_index(window_size))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self._kept_bias: tuple[WindowGrid, tuple, Tensor] | None = None

    def forward(self, windows: Tensor, grid: WindowGrid) -> Tensor:
        """[B, M*T, C] -> [B, M*T, C], before the output projection `proj`."""
        bias = self.bias(grid, windows.dtype)
        split = windows.unflatten(1, (grid.num_windows, -1))
        # A bias per window fits the windows of one image; expanding it to all would copy it.
        groups = split.unbind(0) if len(bias) > 1 else [split.flatten(0, 1)]
        step = len(groups[0])
        if in_pieces(windows):
            step = _rows_in_a_piece(windows, 3 * groups[0][0].numel())
        out = [
            self._attend(group[i : i + step], bias[i : i + step] if len(bias) > 1 else bias)
            for group in groups
            for i in range(0, len(group), step)
        ]
        return (out[0] if len(out) == 1 else torch.cat(out)).view(windows.shape)

    def _attend(self, windows: Tensor, bias: Tensor) -> Tensor:
        """[m, T, C] and a bias [m or 1, heads, T, T] -> [m, T, C]."""
        qkv = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias,
            dropout_p=self.attn_drop_rate if self.training else 0.0,
            scale=self.scale,
        )
        return out.transpose(1, 2).flatten(2)

    def bias(self, grid: WindowGrid, dtype: torch.dtype) -> Tensor:
        """[1, heads, T, T], or [M, heads, T, T] with a shift: what is added to the logits.

        In evaluation mode the last one is kept until the grid, the dtype or the table changes. A
        table written through `.data`, as averaging hooks do, does not show it: `eval()` or
        `train()` afterwards, which every loop calls, drops what is kept.
        """
        table = self.relative_position_bias_table
        if self.training or torch.is_grad_enabled() or table.is_inference():
            return self._make_bias(grid, dtype)
        state = (table.data_ptr(), table._version, dtype)
        if self._kept_bias is None or self._kept_bias[:2] != (grid, state):
            self._kept_bias = (grid, state, self._make_bias(grid, dtype))
        return self._kept_bias[2]

    def train(self, mode: bool = True) -> 'WindowAttention':
        self._kept_bias = None
        return super().train(mode)

    def _make_bias(self, grid: WindowGrid, dtype: torch.dtype) -> Tensor:
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = F.pad(bias, (grid.num_prompts, 0, grid.num_prompts, 0))[None]
        return (bias if grid.mask is None else bias + grid.mask[:, None]).to(dtype)


class ShiftedWindowAttention(nn.Module):
    """Cuts the map into windows, attends inside each, puts the map together again."""

    def __init__(
        self, w_msa: WindowAttention, window_size: int, shift: int, drop_rate: float
    ) -> None:
        super().__init__()
        self.w_msa = w_msa
        self.window_size = window_size
        self.shift = shift
        self.prompt_order = 'batch'
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, hw: tuple[int, int], num_prompts: int) -> Tensor:
        grid = window_grid(
            *hw, self.window_size, self.shift, num_prompts, x.device, self.prompt_order
        )
        windows = self.w_msa(to_windows(x.to(_compute_dtype(x)), grid), grid)
        # The projection is linear: of the averaged prompts it is the average of the projected ones.
        return self.drop(self.w_msa.proj(from_windows(windows, grid)))


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
    """x + attention(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, attn: ShiftedWindowAttention, ffn: FFN, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = ffn
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, hw: tuple[int, int], num_prompts: int = 0) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), hw, num_prompts))
        branch = _row_by_row(lambda rows: self.ffn(self.norm2(rows)), x, self.ffn.hidden)
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

    The released weights expect the 4C channels as `channel * 4 + row * 2 + column`. The product is
    the same when weights and tokens are both reordered; tokens are cheap to lay out as
    `(row * 2 + column) * C + channel`, and the weights are small.

    A prompt has no neighbours. `tile`, which the released STPN weights were trained with, puts four
    copies of it one after the other, although the weights expect channel-major order; `interleave`
    repeats each channel four times, as if all four neighbours were this prompt.
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
