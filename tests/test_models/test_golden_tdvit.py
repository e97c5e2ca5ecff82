"""TDViT on real frames against what the authors' later code base computes (`shared/golden`)."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import (
    build_with_golden_weights,
    clip_of,
    load_json,
    load_module,
    training_losses,
)
from torch import nn

from mmdet.structures import Clip

CONFIG = Path(__file__).resolve().parents[2] / 'configs/_base_/models/tdvit_t.py'
VIDEOS = {'A': 12, 'B': 8, 'C': 6}  # frames of each


def golden_model(shared: Path, attention: str) -> nn.Module:
    model = build_with_golden_weights(
        CONFIG,
        shared,
        fc_cls=0.6,
        unlimited_samplers=True,
        **{
            'model.detector.backbone.attention': attention,
            'model.detector.backbone.drop_path_rate': 0.0,
        },
    )
    checks = load_json(shared / f'golden/vfe2/tdvit_t_{attention}.checks.json')
    state = model.state_dict()
    for pattern, (factor, offset) in checks['factors']:
        for name in state:
            if re.search(pattern, name):
                state[name].mul_(factor).add_(offset)
    return model


@pytest.fixture(scope='module', params=['joint', 'cross'])
def model(request, shared) -> tuple[str, nn.Module]:
    return request.param, golden_model(shared, request.param)


def frame_of(shared: Path, video: str, frame_id: int) -> Clip:
    folder = shared / 'golden/video/ILSVRC/Data/VID/val'
    clip = clip_of([folder / video / f'{frame_id:06d}.JPEG'])
    clip.key.video_id, clip.key.frame_id = ord(video), frame_id
    return clip


def test_names_and_shapes_of_weights(model, shared):
    attention, model = model
    keys = load_json(shared / f'golden/vfe2/tdvit_t_{attention}.keys.json')
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == keys


@pytest.mark.slow
def test_detections_of_real_frames(model, shared):
    """The three videos side by side in one batch, as long as each has frames."""
    attention, model = model
    model.eval()
    states = {video: model.init_state(video_id=ord(video)) for video in VIDEOS}
    found = {video: [] for video in VIDEOS}
    for t in range(max(VIDEOS.values())):
        running = [video for video, length in VIDEOS.items() if t < length]
        clips = [frame_of(shared, video, t) for video in running]
        for video, detections in zip(
            running, model.step_batch(clips, [states[v] for v in running]), strict=True
        ):
            found[video].append(detections.per_class(30))
    results = [frame for frames in found.values() for frame in frames]
    compare = load_module(shared / 'golden/compare.py')
    reference = compare.load(str(shared / f'golden/vfe2/tdvit_t_{attention}.npz'))
    matched, worst_frame = compare.matched_fraction(reference, results)
    assert matched >= 0.99 and worst_frame >= 0.97


@pytest.mark.slow
def test_training_step(model, shared):
    attention, model = model
    golden = load_json(shared / f'golden/vfe2/tdvit_t_{attention}.train.json')
    folder = shared / 'golden/video/ILSVRC/Data/VID/val/A'
    clip = clip_of([folder / f'{i:06d}.JPEG' for i in (3, *golden['refs'])])
    for stage, frame in enumerate(clip.refs, start=1):
        frame.role = f'stage{stage}'
    clip.key.boxes = np.asarray(golden['gt'], np.float32)
    clip.key.labels = np.asarray(golden['labels'], np.int64)
    model.zero_grad()
    losses = training_losses(model, [clip])
    for key, value in golden['losses'].items():
        value = sum(value) if isinstance(value, list) else value
        assert losses[key].item() == pytest.approx(value, rel=1e-4, abs=1e-6), key
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    norms = {n: p.grad.double().norm().item() for n, p in model.named_parameters()}
    total = torch.tensor(list(norms.values())).norm().item()
    assert total == pytest.approx(golden['grad_l2_all'], rel=1e-3)
    assert set(norms) == set(golden['grad_l2'])
    for name, value in golden['grad_l2'].items():
        assert norms[name] == pytest.approx(value, rel=2e-3, abs=1e-6), name
