"""SELSA, MAMBA and STPN against what the original computes on real frames (`shared/golden`).

test_selsa.py, test_mamba.py and test_stpn.py check the same against literal implementations,
without these files.
"""

from pathlib import Path

import pytest
import torch
from golden import (
    build_with_golden_weights,
    clip_of,
    load_json,
    load_module,
    training_clip,
    training_losses,
)
from torch import nn

MODEL_CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/models'
VIDEOS = {'A': 12, 'B': 8, 'C': 6}  # frames of each
# name -> (name of its training step, config, options, loss and gradient tolerances)
MODELS = {
    'selsa_r50_dc5': ('selsa_r50_dc5', 'selsa_r50_dc5.py', {}, 1e-4, 5e-3),
    'stpn': (
        'stpn',
        'stpn_swint.py',
        {'fc_cls': 0.6, 'model.detector.backbone.drop_path_rate': 0.0},
        1e-4,
        1e-3,
    ),
    'mamba': (
        'mamba_r101_dc5',
        'mamba_r50_dc5.py',
        {'model.detector.backbone.depth': 101},
        5e-4,
        2e-2,
    ),
}
UNCERTAIN = 'ref_fc_embed.bias'  # its gradient is rounding only


@pytest.fixture(scope='module', params=list(MODELS))
def golden_model(request, shared) -> tuple[str, nn.Module]:
    _, config, options, *_ = MODELS[request.param]
    model = build_with_golden_weights(
        MODEL_CONFIGS / config, shared, unlimited_samplers=True, **options
    )
    return request.param, model


def test_names_and_shapes_of_weights(golden_model, shared):
    name, model = golden_model
    keys = load_json(shared / f'golden/expected/{name}.keys.json')
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == keys


@pytest.mark.slow
def test_training_step(golden_model, shared):
    name, model = golden_model
    golden, *_, loss_rtol, gradient_rtol = MODELS[name]
    expected = load_json(shared / f'golden/train/{golden}.json')
    model.zero_grad()
    losses = training_losses(model, [training_clip(shared, expected, num_refs=2)])
    for key, value in expected['losses'].items():
        value = sum(value) if isinstance(value, list) else value
        assert losses[key].item() == pytest.approx(value, rel=loss_rtol, abs=1e-6), key
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    norms = {n: p.grad.double().norm() for n, p in model.named_parameters() if p.requires_grad}
    total = torch.stack(list(norms.values())).norm().item()
    assert total == pytest.approx(expected['grad_norm_total'], rel=gradient_rtol)
    assert set(norms) == set(expected['grad_l2_all'])
    for key, value in expected['grad_l2_all'].items():
        if not key.endswith(UNCERTAIN):
            assert norms[key].item() == pytest.approx(value, rel=gradient_rtol), key


@pytest.mark.slow
def test_detections_of_real_frames(golden_model, shared):
    name, model = golden_model
    model.eval()
    data = load_json(shared / 'golden/train/data.json')
    refs = data['test_with_adaptive_stride']['frame0']
    folder = shared / 'golden/video/ILSVRC/Data/VID/val'
    results = []
    for video_id, (video, length) in enumerate(VIDEOS.items()):
        state = model.init_state(video_id=video_id)
        for i in range(length):
            ids = [i, *(refs[video] if i == 0 else [])]
            clip = clip_of([folder / video / f'{j:06d}.JPEG' for j in ids])
            for frame, frame_id in zip(clip.frames, ids, strict=True):
                frame.video_id, frame.frame_id = video_id, frame_id
            detections, state = model.step(clip, state)
            results.append(detections.per_class(30))
    compare = load_module(shared / 'golden/compare.py')
    reference = compare.load(str(shared / f'golden/expected/{name}.npz'))
    matched, worst_frame = compare.matched_fraction(reference, results)
    assert matched >= 0.99 and worst_frame >= 0.9
