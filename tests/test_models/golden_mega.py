"""Helpers for checks against what the original mega.pytorch computes (`shared/golden/mega`)."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from golden import load_json, load_module
from mmengine.config import Config
from torch import Tensor

from mmdet.datasets.transforms import LoadFrames, PackClip, Resize
from mmdet.models.base import BaseVideoDetector
from mmdet.programs.model_converters.mega import from_mega
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame

LENGTH = 12  # frames of its video: every tenth of the snippet
SCALE = (320, 192)


def original_weights(shared: Path, model: str, golden: dict) -> dict[str, Tensor]:
    """The checkpoint of a golden run, under the original's names."""
    shapes = load_json(shared / 'golden/mega/keys.json')[model]
    factors = json.loads(str(golden['factors']))
    values = load_module(shared / 'golden/weights.py')
    weights = {}
    for name, shape in shapes.items():
        if name.startswith('rpn.anchor_generator'):
            continue
        weights[name] = values.tensor_for(name, shape)
        for pattern, factor in factors.items():
            if re.search(pattern, name):
                scale, shift = factor if isinstance(factor, list) else (factor, 0.0)
                weights[name] = weights[name] * scale + shift
    return weights


def golden_model(
    shared: Path, config: Path, run: str, keys: str, **options
) -> tuple[BaseVideoDetector, dict]:
    """The config's model with the converted weights of a run, and what the run stored."""
    golden = np.load(shared / f'golden/mega/{run}.npz')
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    model = MODELS.build(cfg.model).eval()
    converted = from_mega(original_weights(shared, keys, golden))
    assert converted.left_out == []
    model.load_state_dict(converted.weights)
    return model, golden


def frame(shared: Path, number: int) -> Frame:
    path = shared / f'data/snippet/{10 * number:06d}.JPEG'
    return Frame(str(path), frame_id=number, video_length=LENGTH)


def prepared(clip: Clip) -> Clip:
    """The clip after the test pipeline."""
    for transform in (LoadFrames(), Resize(SCALE, backend='pillow'), PackClip()):
        clip = transform(clip, np.random.default_rng(0))
    return clip


def matched(golden: dict, number: int, found: Detections) -> tuple[float, float]:
    """Shares of the stored detections of a frame that were found, by the two rules of the golden
    README: score within 1e-3 and IoU > 0.99 (or 0.5 px for empty boxes); 0.01 and IoU > 0.5."""
    boxes, scores = golden[f'det{number}.boxes'], golden[f'det{number}.scores']
    labels = golden[f'det{number}.labels'].astype(int) - 1
    others = found.boxes.numpy()
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inter = (high - low + 1).clip(0).prod(2)
    areas = [(b[:, 2:] - b[:, :2] + 1).prod(1) for b in (boxes, others)]
    iou = inter / (areas[0][:, None] + areas[1][None] - inter)
    near = (np.abs(boxes[:, None] - others[None]) < 0.5).all(2)
    same = labels[:, None] == found.labels.numpy()[None]
    difference = np.abs(scores[:, None] - found.scores.numpy()[None])
    strict = same & (difference < 1e-3) & ((iou > 0.99) | near)
    loose = same & (difference < 1e-2) & ((iou > 0.5) | near)
    return float(strict.any(1).mean()), float(loose.any(1).mean())


def assert_first(golden: dict, name: str, tensor: Tensor, relative: float) -> None:
    """The first and the strided values that were stored of a tensor, to a part of its largest."""
    shape = tuple(golden[f'{name}.shape'])
    assert tuple(tensor.shape) == shape, (name, tensor.shape, shape)
    flat, largest = tensor.flatten(), float(np.abs(golden[f'{name}.stat'][3:]).max())
    strided = flat[:: max(1, len(flat) // 256)][:256]
    for found, part in ((flat[:64], 'first'), (strided, 'strided')):
        expected = torch.from_numpy(golden[f'{name}.{part}'])
        assert (found - expected).abs().max() <= relative * largest, (name, part)
