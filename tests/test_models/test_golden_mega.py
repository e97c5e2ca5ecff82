"""The C4 detector of Detectron, MEGA and RDN against what mega.pytorch computes with the same
weights (`shared/golden/mega`), run as it ran: with the legacy options."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import golden_tensor
from mmengine.config import Config
from torch import Tensor

from mmdet.datasets.transforms import LoadFrames, PackClip, Resize
from mmdet.models.base import BaseVideoDetector
from mmdet.plans import make_clip
from mmdet.programs.model_converters.mega import from_mega
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/vid'
LENGTH = 12  # frames of its video: every tenth of the snippet
SCALE = (320, 192)
ANCHORS = 'rpn.anchor_generator.cell_anchors.0'
NAMES = {
    'base_r50': 'faster_rcnn/faster_rcnn_r50_c4_1x.py',
    'mega_r50': 'mega/mega_r50_c4_1x.py',
    'mega_r101': 'mega/mega_r101_c4_1x.py',
    'rdn_base_r50': 'mega/rdn_r50_c4_1x.py',
    'rdn_adv_r50': 'mega/rdn_advanced_r50_c4_1x.py',
}
FRAMES = {'base_r50': 4, 'mega_r50': 6, 'rdn_base_r50': 4}  # that are compared
VIDEO = {'mega_r50': True, 'rdn_base_r50': True}


def shapes_of(shared: Path, name: str) -> dict[str, list[int]]:
    shapes = json.loads((shared / 'golden/mega/keys.json').read_text())[name]
    return {key: shape for key, shape in shapes.items() if key != ANCHORS}


@pytest.mark.parametrize('name', NAMES)
def test_converted_names_and_shapes_are_those_of_the_config(shared, name):
    weights = {k: torch.empty(s, device='meta') for k, s in shapes_of(shared, name).items()}
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(CONFIGS / NAMES[name]).model)
    converted = from_mega(weights).weights
    assert {k: v.shape for k, v in converted.items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert not any('bn' in n or 'downsample.1' in n or 'layer1' in n for n in trained)
    assert any('backbone.layer4' in n for n in trained)


def original_weights(shared: Path, name: str, golden: dict) -> dict[str, Tensor]:
    """The checkpoint of a golden run, under the original's names."""
    factors, weights = json.loads(str(golden['factors'])), {}
    for key, shape in shapes_of(shared, name).items():
        weights[key] = golden_tensor(key, tuple(shape))
        for pattern, factor in factors.items():
            if re.search(pattern, key):
                scale, shift = factor if isinstance(factor, list) else (factor, 0.0)
                weights[key] = weights[key] * scale + shift
    return weights


def golden_model(shared: Path, name: str, golden: dict) -> BaseVideoDetector:
    """With the converted weights of the golden run."""
    cfg = Config.fromfile(CONFIGS / NAMES[name])
    if name in VIDEO:
        cfg.model.legacy = True
    model = MODELS.build(cfg.model).eval()
    converted = from_mega(original_weights(shared, name, golden))
    assert converted.left_out == []
    model.load_state_dict(converted.weights)
    return model


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


@pytest.mark.slow
@pytest.mark.parametrize('name', FRAMES)
def test_every_frame_is_detected_as_there(name, shared):
    golden = np.load(shared / f'golden/mega/{name}_v12.npz')
    model = golden_model(shared, name, golden)
    plan = model.plan('offline', None) if name in VIDEO else None
    state, rng = model.init_state(), np.random.default_rng(0)

    def frame(number: int) -> Frame:
        path = shared / f'data/snippet/{10 * number:06d}.JPEG'
        return Frame(str(path), frame_id=number, video_length=LENGTH)

    for t in range(FRAMES[name]):
        found, _ = model.step(prepared(make_clip(plan, t, LENGTH, rng, frame)), state)
        strict, loose = matched(golden, t, found)
        assert strict >= 0.97 and loose >= 0.99, (t, strict, loose)
