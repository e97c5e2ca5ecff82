"""Weights that depend on nothing but a parameter's name and shape, and the rule of a match.

Two implementations whose state dicts have the same names get the same weights without a file.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FACTORS = {
    'fc_reg.weight': 0.5,
    'rpn_cls.weight': 2.0,
    'rpn_reg.weight': 0.3,
    'prompt_predictor.fc.weight': 0.5,
}
KEPT = ('num_batches_tracked', 'relative_position_index')  # what the model computes itself


def golden_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers of the name, scaled as a layer of that shape needs it."""
    kind = name.rsplit('.', 1)[-1]
    draw = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    x = draw.standard_normal(shape or (1,)).astype(np.float32)
    if kind == 'running_var':
        x = 1 + 0.2 * np.abs(x)
    elif kind == 'running_mean':
        x = 0.1 * x
    elif len(shape) <= 1:
        x = 1 + 0.1 * x if kind == 'weight' else 0.05 * x
    elif kind == 'query':
        x = 0.5 * x
    elif 'bias_table' in kind:
        x = 0.2 * x
    else:  # every output has mean 0 over its inputs, and about the variance of these
        mean = x.reshape(shape[0], -1).mean(1)
        scale = np.sqrt(1.6 / np.prod(shape[1:], dtype=int))
        x = (x - mean.reshape(-1, *[1] * (len(shape) - 1))) * scale
    return torch.from_numpy(np.ascontiguousarray(x.reshape(shape), dtype=np.float32))


def golden_state_dict(reference: Mapping[str, Tensor], fc_cls: float) -> dict[str, Tensor]:
    """Values for a model's own state dict; `fc_cls` is the factor of the classifier's weight."""
    factors, filled = {**FACTORS, 'fc_cls.weight': fc_cls}, {}
    for name, old in reference.items():
        factor = next((f for suffix, f in factors.items() if name.endswith(suffix)), 1.0)
        new = old if name.endswith(KEPT) else golden_tensor(name, tuple(old.shape)) * factor
        filled[name] = new.to(old.dtype)
    return filled


def frames_of(path: Path) -> list[list[np.ndarray]]:
    """Stored detections: of every frame, for every class (n, 5) of x1, y1, x2, y2, score."""
    z = np.load(path)
    boxes, frame, label = z['boxes'], z['frame'], z['label']
    frames, classes = range(int(z['num_frames'])), range(int(z['num_classes']))
    return [[boxes[(frame == f) & (label == c)] for c in classes] for f in frames]


def matched(expected: list[np.ndarray], found: list[np.ndarray]) -> tuple[int, int]:
    """(matched, all) of one frame's expected detections."""
    hits = 0
    for a, b in zip(expected, found, strict=True):
        low = np.maximum(a[:, None, :2], b[None, :, :2])
        high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
        inter = (high - low).clip(0).prod(2)
        areas = [(x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b)]
        iou = inter / (areas[0][:, None] + areas[1][None] - inter + 1e-9)
        near = np.abs(a[:, None, 4] - b[None, :, 4]) < 1e-3
        hits += int(((iou > 0.99) & near).any(1).sum()) if len(b) else 0
    return hits, sum(map(len, expected))
