"""Work on a CPU done in pieces that stay in its cache.

At 1008x576 the hidden layer of Swin's first stage alone is 56 MB, and fetching such buffers from
the system page by page took as long as the arithmetic. With gradients everything is kept anyway.

B: images, R: rows of a map of tokens, C: channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PIECE = 2**22  # bytes of the widest buffer of a piece of work


def in_pieces(x: Tensor) -> bool:
    return x.device.type == 'cpu' and not torch.is_grad_enabled()


def rows_in_a_piece(x: Tensor, width: int) -> int:
    return max(1, PIECE // (width * compute_dtype(x).itemsize))


def row_by_row(function: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
    """`function(x)` for a function that treats rows alone; `width`: of its widest buffer."""
    if not in_pieces(x):
        return function(x)
    pieces = x.flatten(0, 1).split(rows_in_a_piece(x, width))
    return torch.cat([function(piece) for piece in pieces]).unflatten(0, x.shape[:2])


def image_by_image(
    function: Callable[..., tuple[Tensor, ...]], images: Tensor, *others: Tensor | None
) -> tuple[Tensor, ...]:
    """`function(images, *others)`, where every tensor has a row per image that does not depend on
    the other images."""
    if len(images) == 1 or not in_pieces(images):
        return function(images, *others)
    rows = (slice(i, i + 1) for i in range(len(images)))
    singles = [function(*(x if x is None else x[row] for x in (images, *others))) for row in rows]
    return tuple(torch.cat(parts) for parts in zip(*singles, strict=True))


def compute_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
