"""What makes prompts out of support features (STPN, section 3.2 of arXiv 2402.02574).

V: videos, F: support frames of a video, C, h, w: the backbone's last map, n = F*h*w tokens,
P: prompts, D: their width (the backbone's embed_dims).

All predictors map [F, C, h, w] to [P, D], or [V, F, C, h, w] to [V, P, D], each video alone. None
of them looks at the current frame, so prompts are made once per video.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.registry import MODELS


def _tokens(features: Tensor) -> Tensor:
    """[..., F, C, h, w] -> [..., F, h*w, C]."""
    return features.flatten(-2).transpose(-1, -2)


@MODELS.register_module()
class AttentionPromptPredictor(nn.Module):
    """Learned queries attend once to all tokens of all support frames (`att` of 1.x; 111,552).

    One softmax over all frames together; no residual, norm or position, so the order of frames and
    tokens does not matter. The linear layers keep PyTorch's initialisation, as in the release.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        num_prompts: int = 5,
        prompt_dims: int = 96,
        num_heads: int = 16,
    ) -> None:
        super().__init__()
        if prompt_dims % num_heads:
            raise ConfigError(f'prompt_dims {prompt_dims} is no multiple of num_heads {num_heads}.')
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.randn(num_prompts, prompt_dims))
        self.reduction = nn.Linear(embed_dims, prompt_dims)
        self.fc_embed = nn.Linear(prompt_dims, prompt_dims)
        self.ref_fc_embed = nn.Linear(prompt_dims, prompt_dims)
        self.ref_fc = nn.Linear(prompt_dims, prompt_dims)
        self.fc = nn.Linear(prompt_dims, prompt_dims)

    def forward(self, features: Tensor) -> Tensor:
        support = self.reduction(_tokens(features).flatten(-3, -2))  # [..., n, D]
        query, key, value = (
            x.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3)  # [..., heads, P or n, d]
            for x in (self.fc_embed(self.query), self.ref_fc_embed(support), self.ref_fc(support))
        )
        query = query.expand(*key.shape[:-3], *query.shape)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.fc(mixed.transpose(-2, -3).flatten(-2))


@MODELS.register_module()
class AveragePromptPredictor(nn.Module):
    """The strongest tokens of each frame, averaged over frames (`avg` of 1.x; 73,824 parameters).

    Of each frame the P tokens with the largest L1 norm, strongest first, are averaged rank by rank.
    The choice has no gradient.
    """

    def __init__(self, embed_dims: int = 768, num_prompts: int = 5, prompt_dims: int = 96) -> None:
        super().__init__()
        self.num_prompts = num_prompts
        self.reduction = nn.Linear(embed_dims, prompt_dims)

    def forward(self, features: Tensor) -> Tensor:
        """Raises ConfigError where a map has fewer than P tokens."""
        tokens = _tokens(features)
        if tokens.shape[-2] < self.num_prompts:
            raise ConfigError(
                f'A support map of {tuple(features.shape[-2:])} has fewer tokens than '
                f'num_prompts {self.num_prompts}: use larger images or fewer prompts.'
            )
        strongest = tokens.detach().abs().sum(-1).topk(self.num_prompts).indices
        chosen = tokens.gather(-2, strongest[..., None].expand(*strongest.shape, tokens.shape[-1]))
        return self.reduction(chosen.mean(dim=-3))


class MixerLayer(nn.Module):
    """MLP-Mixer layer (Tolstikhin et al., NeurIPS 2021): across tokens, then across channels."""

    def __init__(self, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.token_mixing = _mlp(num_tokens, 2 * num_tokens)
        self.norm2 = nn.LayerNorm(dim)
        self.channel_mixing = _mlp(dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., num_tokens, dim], shape kept."""
        x = x + self.token_mixing(self.norm1(x).transpose(-1, -2)).transpose(-1, -2)
        return x + self.channel_mixing(self.norm2(x))


def _mlp(dim: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


@MODELS.register_module()
class MixerPromptPredictor(nn.Module):
    """A Mixer over a pooled grid of each frame, averaged over frames.

    The paper names a Mixer-based predictor, but its code was never released and no released weights
    use it. This reading keeps what a Mixer needs (a fixed number of tokens, so every map is pooled
    to `grid_size` squared) and what STPN needs (any number of frames, in any order).
    """

    def __init__(
        self,
        embed_dims: int = 768,
        num_prompts: int = 5,
        prompt_dims: int = 96,
        grid_size: int = 7,
        num_layers: int = 1,
    ) -> None:
        super().__init__()
        num_tokens = grid_size**2
        self.pool = nn.AdaptiveAvgPool2d(grid_size)
        self.reduction = nn.Linear(embed_dims, prompt_dims)
        self.layers = nn.Sequential(
            *[MixerLayer(num_tokens, prompt_dims) for _ in range(num_layers)]
        )
        self.norm = nn.LayerNorm(prompt_dims)
        self.to_prompts = nn.Linear(num_tokens, num_prompts)

    def forward(self, features: Tensor) -> Tensor:
        pooled = self.pool(features.flatten(0, -4)).unflatten(0, features.shape[:-3])
        mixed = self.norm(self.layers(self.reduction(_tokens(pooled))))  # [..., F, tokens, D]
        return self.to_prompts(mixed.mean(dim=-3).transpose(-1, -2)).transpose(-1, -2)
