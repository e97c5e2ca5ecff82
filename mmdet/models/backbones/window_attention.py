"""Attention inside the windows of a token map, to its own tokens and to those of another frame.

B: images, C: channels, H, W: the token map, P: prompts (none in a plain Swin, see
`STPNSwinTransformer`), R = P + H*W: rows, M: windows of an image, T: tokens of a window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.backbones.pieces import compute_dtype, in_pieces, rows_in_a_piece
from mmdet.models.backbones.windows import (
    WindowGrid,
    from_windows,
    relative_position_index,
    to_windows,
    window_grid,
)
from mmdet.models.static import is_recording, keep_alive


class WindowAttention(nn.Module):
    """Multi-head attention among the tokens of a window, biased by their relative position; prompts
    have none.

    The keys and values may be those of another frame's window at the same place (a *reference*,
    made by `keys_values`): instead of the window's own or, with `joint`, after them.
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
        self.joint = False  # as `TDViTTransformer` wants it
        self.scale = qk_scale  # None: 1 / sqrt(dim of a head)
        self.attn_drop_rate = attn_drop_rate
        table = torch.zeros((2 * window_size - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(table)
        self.register_buffer('relative_position_index', relative_position_index(window_size))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self._kept_bias: tuple[WindowGrid, tuple, Tensor] | None = None

    def forward(self, windows: Tensor, grid: WindowGrid, reference: Tensor | None = None) -> Tensor:
        """[B, M*T, C] -> [B, M*T, C], before the output projection `proj`; `reference`
        [B, M*T, 2C]: each image's `keys_values` of another frame."""
        joint = self.joint and reference is not None
        bias = self.bias(grid, windows.dtype, halves=2 if joint else 1)
        given = [windows] if reference is None else [windows, reference.to(windows.dtype)]
        given = [x.unflatten(1, (grid.num_windows, -1)) for x in given]
        # A bias per window fits the windows of one image; expanding it to all would copy it.
        per_window = len(bias) > 1
        groups = zip(*given, strict=True) if per_window else [[x.flatten(0, 1) for x in given]]
        out = []
        for group in groups:
            step = total = len(group[0])
            if in_pieces(windows):
                step = rows_in_a_piece(windows, 3 * group[0][0].numel())
            for piece in (slice(i, i + step) for i in range(0, total, step)):
                out.append(
                    self._attend(bias[piece] if per_window else bias, *(x[piece] for x in group))
                )
        return (out[0] if len(out) == 1 else torch.cat(out)).view(windows.shape)

    def keys_values(self, windows: Tensor) -> Tensor:
        """[B, M*T, C] of a reference frame -> its keys and values, [B, M*T, 2C]."""
        return self._project(windows, slice(windows.shape[-1], None))

    def _project(self, windows: Tensor, outputs: slice) -> Tensor:
        """Some of the 3C channels, queries before keys before values, that `qkv` gives."""
        bias = self.qkv.bias
        return F.linear(windows, self.qkv.weight[outputs], None if bias is None else bias[outputs])

    def _attend(self, bias: Tensor, windows: Tensor, reference: Tensor | None = None) -> Tensor:
        """A bias [m or 1, heads, T, T or 2T], [m, T, C] and [m, T, 2C] -> [m, T, C]."""
        channels = windows.shape[-1]
        if reference is None or self.joint:
            query, pairs = self.qkv(windows).split((channels, 2 * channels), dim=-1)
            pairs = pairs if reference is None else torch.cat([pairs, reference], dim=1)
        else:
            query, pairs = self._project(windows, slice(channels)), reference
        query = query.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key, value = pairs.unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop_rate if self.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, bias, dropout, scale=self.scale)
        return out.transpose(1, 2).flatten(2)

    def bias(self, grid: WindowGrid, dtype: torch.dtype, halves: int = 1) -> Tensor:
        """What is added to the logits: [1, heads, T, T], or [M, heads, T, T] with a shift; with two
        `halves` the last axis is 2T, the same for the reference's keys again.

        In evaluation mode the last one is kept until the grid, the dtype or the table changes. A
        table written through `.data`, as averaging hooks do, does not show it: `eval()` or
        `train()` afterwards, which every loop calls, drops what is kept.
        """
        table = self.relative_position_bias_table
        if self.training or torch.is_grad_enabled() or table.is_inference():
            return self._make_bias(grid, dtype, halves)
        state = (table.data_ptr(), table._version, dtype, halves)
        kept = self._kept_bias  # looked at once: another thread may replace it
        if kept is None or kept[:2] != (grid, state):
            kept = (grid, state, self._make_bias(grid, dtype, halves))
            if not is_recording():  # what is made then lies in the memory of the graph
                self._kept_bias = kept
        return keep_alive(kept[2])

    def train(self, mode: bool = True) -> 'WindowAttention':
        self._kept_bias = None
        return super().train(mode)

    def _make_bias(self, grid: WindowGrid, dtype: torch.dtype, halves: int) -> Tensor:
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = F.pad(bias, (grid.num_prompts, 0, grid.num_prompts, 0))[None]
        bias = (bias if grid.mask is None else bias + grid.mask[:, None]).to(dtype)
        return torch.cat([bias] * halves, dim=-1).contiguous()  # fused attention wants whole rows


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

    def forward(
        self,
        x: Tensor,
        hw: tuple[int, int],
        num_prompts: int = 0,
        reference: Tensor | None = None,
    ) -> Tensor:
        grid = self._grid(x, hw, num_prompts)
        windows = self.w_msa(to_windows(x.to(compute_dtype(x)), grid), grid, reference)
        # The projection is linear: of the averaged prompts it is the average of the projected ones.
        return self.drop(self.w_msa.proj(from_windows(windows, grid)))

    def keys_values(self, x: Tensor, hw: tuple[int, int]) -> Tensor:
        """[B, H*W, C] of a reference frame -> what `forward` takes of it, [B, M*T, 2C]."""
        grid = self._grid(x, hw, num_prompts=0)
        return self.w_msa.keys_values(to_windows(x.to(compute_dtype(x)), grid))

    def _grid(self, x: Tensor, hw: tuple[int, int], num_prompts: int) -> WindowGrid:
        return keep_alive(
            window_grid(*hw, self.window_size, self.shift, num_prompts, x.device, self.prompt_order)
        )
