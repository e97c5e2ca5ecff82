"""A temporal block window by window, and a memory that keeps every map of a video."""

import torch
import torch.nn.functional as F
from naive_swin import window_bias, windows_of
from torch import Tensor

from mmdet.models.backbones.swin_layers import SwinBlock
from mmdet.models.backbones.tdvit import TDViTTransformer
from mmdet.models.backbones.window_attention import WindowAttention


def attend(
    attention: WindowAttention, tokens: Tensor, others: Tensor, bias: Tensor, joint: bool
) -> Tensor:
    """[T, C] of a window and of the reference's window, [heads, T, T] -> [T, C]."""
    query, own_key, own_value = attention.qkv(tokens).chunk(3, dim=-1)
    _, key, value = attention.qkv(others).chunk(3, dim=-1)
    width = tokens.shape[-1] // attention.num_heads
    out = []
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        logits, values = query[:, part] @ key[:, part].T * width**-0.5 + bias[head], value[:, part]
        if joint:
            own = query[:, part] @ own_key[:, part].T * width**-0.5 + bias[head]
            logits = torch.cat([own, logits], dim=1)
            values = torch.cat([own_value[:, part], values])
        out.append(logits.softmax(-1) @ values)
    return torch.cat(out, dim=-1)


def block_output(
    block: SwinBlock, x: Tensor, reference: Tensor, hw: tuple[int, int], joint: bool
) -> Tensor:
    """Maps [H*W, C] of a frame and of its reference -> [H*W, C], without stochastic depth."""
    attention, size = block.attn.w_msa, block.attn.window_size
    normed, other = block.norm1(x), block.norm1(reference)
    branch = [None] * len(x)
    for places, rows in windows_of(block, hw):
        pair = (
            torch.stack([torch.zeros_like(m[0]) if row is None else m[row] for row in rows])
            for m in (normed, other)
        )
        bias = window_bias(attention, places, size, num_prompts=0)
        result = attention.proj(attend(attention, *pair, bias, joint))
        for row, token in zip(rows, result, strict=True):
            if row is not None:
                branch[row] = token
    x = x + torch.stack(branch)
    return x + block.ffn.layers[1](F.gelu(block.ffn.layers[0][0](block.norm2(x))))


def reference_frame(t: int, dilation: int, hold: str | int) -> int | None:
    """The frame whose map frame t sees with the earliest of `dilation` maps; None: its own."""
    if t == 0:
        return None
    period = 1 if hold == 1 else dilation
    drawn = t - (t - 1) % period
    return max(0, drawn - dilation)


def video_maps(
    model: TDViTTransformer, frames: Tensor, hold: str | int, feature: str, joint: bool
) -> list[list[Tensor]]:
    """Maps [C, H, W] per frame and level of a video [n, 3, h, w], all maps of all frames kept.

    Only blocks are taken apart; embedding and merging are the model's.
    """
    dilations = {(p.stage, p.index): p.dilation for p in model.temporal_blocks}
    kept: dict[tuple, list[Tensor]] = {place: [] for place in dilations}
    out = []
    for t, frame in enumerate(frames):
        x, hw = model.patch_embed(frame[None])
        maps = []
        for i, stage in enumerate(model.stages):
            for j, block in enumerate(stage.blocks):
                given = x[0]
                source = None
                if (i, j) in dilations:
                    source = reference_frame(t, dilations[i, j], hold)
                if source is None:
                    x = block(x, hw)
                else:
                    x = block_output(block, given, kept[i, j][source], hw, joint)[None]
                if (i, j) in dilations:
                    kept[i, j].append(given if feature == 'input' else x[0])
            if i in model.out_indices:
                maps.append(getattr(model, f'norm{i}')(x[0]).T.unflatten(1, hw))
            if stage.downsample is not None:
                x, hw = stage.downsample(x, hw)
        out.append(maps)
    return out
