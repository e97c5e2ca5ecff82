"""Frames and weights of the checks against the reference implementation of TDViT."""

from pathlib import Path

import torch
from golden import clip_of, load_module
from torch import Tensor, nn

from mmdet.models.backbones import TDViTTransformer


def golden_frames(shared: Path) -> Tensor:
    """Video A, [12, 3, 192, 320], normalised and padded."""
    folder = shared / 'golden/video/ILSVRC/Data/VID/val/A'
    frames = clip_of([folder / f'{i:06d}.JPEG' for i in range(12)]).images.flip(-1).float()
    mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])
    return nn.functional.pad((frames - mean) / std, (0, 0, 0, 0, 0, 12)).permute(0, 3, 1, 2)


def golden_backbone(shared: Path, attention: str, **settings) -> TDViTTransformer:
    backbone = TDViTTransformer(attention=attention, drop_path_rate=0.0, **settings)
    named = nn.ModuleDict({'detector': nn.ModuleDict({'backbone': backbone})})
    weights = load_module(shared / 'golden/weights.py')
    named.load_state_dict(weights.state_dict_for(named.state_dict()))
    return backbone.eval()
