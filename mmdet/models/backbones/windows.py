"""Where every attention window finds its tokens.

Padding, cyclic shift and partition together are one gather of rows, and undoing them is another.
Prompts are rows in front of the map that belong to every window: gathering repeats them, the way
back averages them over the windows.

B: images, P: prompts, H, W: the token map, R = P + H*W: rows, M: windows of an image,
N: tokens of a window, T = P + N, C: channels.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Added to the logits of tokens that the cyclic shift brought together; Swin's value.
FAR = -100.0

# Whose prompts the windows of a batch of B images see, M windows each. 'batch': of their own image.
# 'window': window k (of B*M) sees those of image k % B and gives back to them, as version 1.x did.
PROMPT_ORDERS = ('batch', 'window')


@dataclass(frozen=True, eq=False)
class WindowGrid:
    """The windows of one map size; made by `window_grid`, shared and never changed."""

    num_prompts: int
    num_windows: int
    prompt_order: str  # one of PROMPT_ORDERS
    gather: Tensor  # [M*T] the row of every window token; 0 where there is only padding
    scatter: Tensor  # [R] the window token of every row (a prompt's: in the first window)
    padding: Tensor | None  # window tokens outside the map, which are zero; None without any
    mask: Tensor | None  # [M, T, T] float32, 0 or FAR; None without a shift


def relative_position_index(window_size: int) -> Tensor:
    """[N, N] int64 as in Microsoft's buffer, for query minus key offsets dy, dx and window size w.

    (dy + w - 1) * (2w - 1) + dx + w - 1, a row of the bias table.
    """
    axis = torch.arange(window_size)
    y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing='ij'))
    far = window_size - 1
    return (y[:, None] - y + far) * (2 * window_size - 1) + x[:, None] - x + far


def _partition(plane: Tensor, size: int) -> Tensor:
    """[H, W], both multiples of `size` -> [M, N]."""
    height, width = plane.shape
    blocks = plane.view(height // size, size, width // size, size)
    return blocks.transpose(1, 2).reshape(-1, size * size)


def _shift_mask(height: int, width: int, size: int, shift: int, num_prompts: int) -> Tensor:
    """[M, T, T]: FAR between tokens of different regions of the shifted, padded map; 0 elsewhere.

    Prompts have no place on the map, so they see and are seen by every token.
    """
    y, x = torch.arange(height), torch.arange(width)
    rows = (y >= height - size).long() + (y >= height - shift).long()
    columns = (x >= width - size).long() + (x >= width - shift).long()
    regions = _partition(rows[:, None] * 3 + columns, size)
    mask = (regions[:, :, None] != regions[:, None, :]).float() * FAR
    return torch.nn.functional.pad(mask, (num_prompts, 0, num_prompts, 0))


@lru_cache(maxsize=64)  # the 8 grids of a four-stage model at 8 sizes, a few MB each
def window_grid(
    height: int,
    width: int,
    size: int,
    shift: int,
    num_prompts: int,
    device: torch.device,
    prompt_order: str = 'batch',
) -> WindowGrid:
    """The windows of a map that is padded at its right and bottom to multiples of `size` and rolled
    by (-shift, -shift); the padding is attended to, as in Swin."""
    # Outside inference mode: a grid first used in testing may take part in a backward pass later.
    # On the device: training at many scales makes new ones all the time.
    with torch.inference_mode(False), device:
        padded = -(-height // size) * size, -(-width // size) * size
        rows = torch.full(padded, -1)
        rows[:height, :width] = torch.arange(height * width).view(height, width) + num_prompts
        windows = _partition(rows.roll((-shift, -shift), (0, 1)), size)
        prompts = torch.arange(num_prompts).expand(len(windows), num_prompts)
        gather = torch.cat([prompts, windows], dim=1).flatten()
        inside = gather >= num_prompts
        scatter = torch.arange(num_prompts + height * width)
        scatter[gather[inside]] = inside.nonzero().flatten()
        padding = (gather < 0).nonzero().flatten()
        return WindowGrid(
            num_prompts=num_prompts,
            num_windows=len(windows),
            prompt_order=prompt_order,
            gather=gather.clamp(min=0),
            scatter=scatter,
            padding=padding if len(padding) else None,
            mask=_shift_mask(*padded, size, shift, num_prompts) if shift else None,
        )


def to_windows(rows: Tensor, grid: WindowGrid) -> Tensor:
    """[B, R, C] -> [B, M*T, C]: prompts repeated in every window, zeros as padding."""
    return _ToWindows.apply(rows, grid) if torch.is_grad_enabled() else _gather(rows, grid)


def from_windows(windows: Tensor, grid: WindowGrid) -> Tensor:
    """[B, M*T, C] -> [B, R, C]: padding dropped, prompts averaged over all windows."""
    if torch.is_grad_enabled():
        return _FromWindows.apply(windows, grid)
    return _scatter(windows, grid, 1 / grid.num_windows)


def _prompts_of(windows: Tensor, grid: WindowGrid) -> Tensor:
    """A view [B, M, P, C] of [B, M*T, C]: each image's prompts in the M windows that see them."""
    images, channels = len(windows), windows.shape[-1]
    if grid.prompt_order == 'window':
        split = windows.view(grid.num_windows, images, -1, channels).transpose(0, 1)
    else:
        split = windows.view(images, grid.num_windows, -1, channels)
    return split[:, :, : grid.num_prompts]


def _gather(rows: Tensor, grid: WindowGrid, prompt_scale: float = 1.0) -> Tensor:
    windows = rows.index_select(1, grid.gather)
    if grid.padding is not None:
        windows.index_fill_(1, grid.padding, 0)
    if grid.prompt_order == 'window':
        _prompts_of(windows, grid).copy_(rows[:, None, : grid.num_prompts])
    if grid.num_prompts and prompt_scale != 1:
        _prompts_of(windows, grid).mul_(prompt_scale)
    return windows


def _scatter(windows: Tensor, grid: WindowGrid, prompt_scale: float = 1.0) -> Tensor:
    rows = windows.index_select(1, grid.scatter)
    if grid.num_prompts:
        rows[:, : grid.num_prompts] = _prompts_of(windows, grid).sum(dim=1) * prompt_scale
    return rows


class _ToWindows(torch.autograd.Function):
    """Autograd would turn the gather into an atomic (on a CPU: row by row) scatter-add."""

    @staticmethod
    def forward(ctx, rows: Tensor, grid: WindowGrid) -> Tensor:
        ctx.grid = grid
        return _gather(rows, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _scatter(gradient.contiguous(), ctx.grid), None


class _FromWindows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, windows: Tensor, grid: WindowGrid) -> Tensor:
        ctx.grid = grid
        return _scatter(windows, grid, 1 / grid.num_windows)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _gather(gradient, ctx.grid, 1 / ctx.grid.num_windows), None
