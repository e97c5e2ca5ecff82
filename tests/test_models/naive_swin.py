"""A Swin block of every kind, token by token and window by window, in the words of the papers.

Slow and differentiable. Windows are found by coordinates: the window token at (y, x) of the rolled
map is the token at (y + shift, x + shift) modulo the padded size, and two tokens of a window see
each other when both or neither of them came around the border.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet.models.backbones.swin_layers import SwinBlock
from mmdet.models.backbones.window_attention import WindowAttention


def attend(
    attention: WindowAttention, tokens: Tensor, bias: Tensor, others: Tensor | None, joint: bool
) -> Tensor:
    """[T, C] of one window and [heads, T, T] -> [T, C], with the explicit softmax.

    others: [T, C] of the reference's window, seen besides the own one (`joint`) or instead.
    """
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    if others is not None:
        _, other_key, other_value = attention.qkv(others).chunk(3, dim=-1)
        if joint:
            key, value = torch.cat([key, other_key]), torch.cat([value, other_value])
            bias = torch.cat([bias, bias], dim=2)
        else:
            key, value = other_key, other_value
    out = []
    for q, k, v, own in zip(
        *(x.chunk(len(bias), 1) for x in (query, key, value)), bias, strict=True
    ):
        logits = q @ k.T * q.shape[1] ** -0.5 + own
        out.append(logits.softmax(-1) @ v)
    return attention.proj(torch.cat(out, dim=-1))


def windows_of(block: SwinBlock, hw: tuple[int, int]) -> list[tuple[list, list]]:
    """Of every window the places of its tokens (y, x, and whether each came around the border),
    and their rows in the map (None: padding)."""
    size, shift = block.attn.window_size, block.attn.shift
    padded = [-(-side // size) * size for side in hw]
    windows = []
    for top in range(0, padded[0], size):
        for left in range(0, padded[1], size):
            places, rows = [], []
            for y, x in ((y, x) for y in range(size) for x in range(size)):
                source = top + y + shift, left + x + shift
                places.append((y, x, source[0] >= padded[0], source[1] >= padded[1]))
                r, c = source[0] % padded[0], source[1] % padded[1]
                rows.append(r * hw[1] + c if r < hw[0] and c < hw[1] else None)
            windows.append((places, rows))
    return windows


def window_bias(attention: WindowAttention, places: list, size: int, num_prompts: int) -> Tensor:
    """[heads, T, T] from the table and the wrap-around flags in `places`; prompts get zeros."""
    table, total = attention.relative_position_bias_table, num_prompts + len(places)
    bias = torch.zeros(total, total, attention.num_heads, dtype=table.dtype)
    rows = [
        [(y1 - y2 + size - 1) * (2 * size - 1) + x1 - x2 + size - 1 for y2, x2, *_ in places]
        for y1, x1, *_ in places
    ]
    far = [[-100.0 * (wrap1 != wrap2) for _, _, *wrap2 in places] for _, _, *wrap1 in places]
    bias[num_prompts:, num_prompts:] = table[torch.tensor(rows)] + torch.tensor(far)[..., None]
    return bias.permute(2, 0, 1)


def attention_branch(
    block: SwinBlock,
    images: list[Tensor],
    hw: tuple[int, int],
    num_prompts: int,
    mixed: bool,
    references: list[Tensor | None],
    joint: bool,
) -> list[Tensor]:
    """The block's attention on normed rows [P + H*W, C] of every image -> the same shapes."""
    attention = block.attn.w_msa
    prompts: list[list] = [[] for _ in images]
    patches: list[dict] = [{} for _ in images]
    windows = [(i, *window) for i in range(len(images)) for window in windows_of(block, hw)]

    def tokens(patches: Tensor, rows: list) -> Tensor:
        zero = torch.zeros_like(patches[0])
        return torch.stack([zero if row is None else patches[row] for row in rows])

    for number, (i, places, rows) in enumerate(windows):
        owner = number % len(images) if mixed else i
        x = [images[owner][:num_prompts], tokens(images[i][num_prompts:], rows)]
        others = None if references[i] is None else tokens(references[i], rows)
        bias = window_bias(attention, places, block.attn.window_size, num_prompts)
        result = attend(attention, torch.cat(x), bias, others, joint)
        prompts[owner].append(result[:num_prompts])
        patches[i].update(zip(rows, result[num_prompts:], strict=True))
    count = range(hw[0] * hw[1])
    return [
        torch.cat([torch.stack(p).mean(0), torch.stack([t[row] for row in count])])
        for p, t in zip(prompts, patches, strict=True)
    ]


def block_output(
    block: SwinBlock,
    images: Sequence[Tensor],
    hw: tuple[int, int],
    num_prompts: int = 0,
    mixed: bool = False,
    references: Sequence[Tensor] | None = None,
    joint: bool = True,
) -> Tensor:
    """Rows [B, P + H*W, C] through the whole block, without stochastic depth.

    Args:
        mixed: window k of the batch sees, and gives back, the prompts of image k % B (as in 1.x).
        references: [B, H*W, C], the maps of other frames that the images see.
        joint: besides their own, not instead.
    """
    normed = [block.norm1(x) for x in images]
    others = [None] * len(normed) if references is None else [block.norm1(x) for x in references]
    branches = attention_branch(block, normed, hw, num_prompts, mixed, others, joint)
    summed = torch.stack([x + branch for x, branch in zip(images, branches, strict=True)])
    hidden = F.gelu(block.ffn.layers[0][0](block.norm2(summed)))
    return summed + block.ffn.layers[1](hidden)
