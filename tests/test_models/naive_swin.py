"""One Swin block, token by token and window by window, in the words of the paper.

Slow and differentiable. Windows are found by coordinates: the window token at (y, x) of the rolled
map is the token at (y + shift, x + shift) modulo the padded size, and two tokens of a window see
each other when both or neither of them came around the border.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet.models.backbones.swin_layers import SwinBlock, WindowAttention


def attend(attention: WindowAttention, tokens: Tensor, bias: Tensor) -> Tensor:
    """[T, C] of one window and [heads, T, T] -> [T, C], with the explicit softmax."""
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    width = tokens.shape[-1] // attention.num_heads
    out = []
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        logits = query[:, part] @ key[:, part].T * width**-0.5 + bias[head]
        out.append(logits.softmax(-1) @ value[:, part])
    return torch.cat(out, dim=-1)


def window_bias(attention: WindowAttention, places: list, size: int, num_prompts: int) -> Tensor:
    """[heads, T, T] from the table and the wrap-around flags in `places`; prompts get zeros."""
    total = num_prompts + len(places)
    table = attention.relative_position_bias_table
    bias = torch.zeros(attention.num_heads, total, total, dtype=table.dtype)
    for i, (y1, x1, *wrap1) in enumerate(places):
        for j, (y2, x2, *wrap2) in enumerate(places):
            row = (y1 - y2 + size - 1) * (2 * size - 1) + x1 - x2 + size - 1
            entry = table[row] + (0 if wrap1 == wrap2 else -100)
            bias[:, num_prompts + i, num_prompts + j] = entry
    return bias


def attention_branch(block: SwinBlock, x: Tensor, hw: tuple[int, int], num_prompts: int) -> Tensor:
    """The block's attention on one image, normed rows [P + H*W, C] -> the same shape."""
    attention, size, shift = block.attn.w_msa, block.attn.window_size, block.attn.shift
    padded = [-(-side // size) * size for side in hw]
    prompts, out = [], [None] * (hw[0] * hw[1])
    for top in range(0, padded[0], size):
        for left in range(0, padded[1], size):
            places, sources = [], []
            for y in range(size):
                for x_ in range(size):
                    source = top + y + shift, left + x_ + shift
                    wrapped = source[0] >= padded[0], source[1] >= padded[1]
                    places.append((y, x_, *wrapped))
                    sources.append((source[0] % padded[0], source[1] % padded[1]))
            inside = [r < hw[0] and c < hw[1] for r, c in sources]
            rows = [r * hw[1] + c for r, c in sources]
            tokens = [
                x[num_prompts + row] if ok else torch.zeros_like(x[0])
                for row, ok in zip(rows, inside, strict=True)
            ]
            window = torch.cat([x[:num_prompts], torch.stack(tokens)])
            bias = window_bias(attention, places, size, num_prompts)
            result = attention.proj(attend(attention, window, bias))
            prompts.append(result[:num_prompts])
            for row, ok, token in zip(rows, inside, result[num_prompts:], strict=True):
                if ok:
                    out[row] = token
    return torch.cat([torch.stack(prompts).mean(0), torch.stack(out)])


def block_output(block: SwinBlock, x: Tensor, hw: tuple[int, int], num_prompts: int = 0) -> Tensor:
    """[P + H*W, C] of one image through the whole block, without stochastic depth."""
    x = x + attention_branch(block, block.norm1(x), hw, num_prompts)
    hidden = F.gelu(block.ffn.layers[0][0](block.norm2(x)))
    return x + block.ffn.layers[1](hidden)
