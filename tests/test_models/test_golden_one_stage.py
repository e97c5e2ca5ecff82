"""FCOS, YOLOX and EOVOD against what an independent implementation computes on real frames
(`shared/golden/vfe2`)."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import clip_of, load_json, load_module, training_losses
from mmengine.config import Config
from torch import nn

from mmdet.registry import MODELS
from mmdet.structures import Clip

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/vid'
NAMES = {
    'fcos_r101': 'fcos/fcos_r101_fpn_9x.py',
    'yolox_m': 'yolox/yolox_m_90e.py',
    'eovod_fcos_lpn': 'eovod/eovod_fcos_r101_lpn_9x.py',
    'eovod_fcos_lpn_spn': 'eovod/eovod_fcos_r101_lpn_spn_9x.py',
}
# no detections of these are here, but their names are, and what a training step gave
KEYS_ALONE = {
    'eovod_fcos_rel': 'eovod/eovod_fcos_r101_all_9x.py',
    'eovod_fcos_lpn_spn_m0': 'eovod/eovod_fcos_r101_lpn_spn_9x.py',
    'eovod_yolox_lpn': 'eovod/eovod_yolox_m_lpn_90e.py',
}
RELEASED = ('eovod_fcos_rel', 'eovod/eovod_fcos_r101_released_9x.py')
TOTALS = {  # settings of `model`, loss, norm of the gradient
    'eovod_fcos_rel': ({'memory.train_keys': 100_000}, 3.79300308, 39.378115),
    'eovod_fcos_lpn_spn_m0': ({'aggregator.branches': 'all'}, 3.69278097, 38.450543),
}
PARAMETERS = {
    'fcos_r101': 51_172_200,
    'yolox_m': 25_297_545,
    'eovod_fcos_lpn': 51_435_368,
    'eovod_fcos_rel': 72_156_008,
}
VIDEOS = {'A': 12, 'B': 8, 'C': 6}  # frames of each
PRIORS = ('train_plain_prob', 'train_drop_prob', 'train_jitter', 'train_distractors')


@functools.cache
def built(name: str, shared: Path) -> nn.Module:
    """The model of the config, nothing of it random, with the deterministic weights."""
    cfg = Config.fromfile(CONFIGS / {**NAMES, **KEYS_ALONE}[name])
    if cfg.model.type == 'EOVOD':
        cfg.model.location_prior.update(dict.fromkeys(PRIORS, 0))
        if not cfg.model.memory.get('update'):
            cfg.model.memory.num_keys = None
    options = TOTALS[name][0] if name in TOTALS else {}
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    model = MODELS.build(cfg.model)
    factors_of = 'eovod_fcos_lpn' if name in TOTALS else name
    checks = load_json(shared / f'golden/vfe2/{factors_of}.checks.json')
    weights = load_module(shared / 'golden/weights.py')
    state = weights.state_dict_for(model.state_dict(), fc_cls=checks['fc_cls'])
    for pattern, (factor, shift) in checks['factors']:
        for key in filter(re.compile(pattern).search, state):
            state[key] = state[key] * factor + shift
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize(('name', 'config'), [*NAMES.items(), *KEYS_ALONE.items(), RELEASED])
def test_names_shapes_and_number_of_weights(name, config, shared):
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(CONFIGS / config).model)
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    assert shapes == load_json(shared / f'golden/vfe2/{name}.keys.json')
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS.get(name, count)


def clip_of_frames(shared: Path, video: str, ids: list[int]) -> Clip:
    folder = shared / f'golden/video/ILSVRC/Data/VID/val/{video}'
    return clip_of([folder / f'{i:06d}.JPEG' for i in ids])


def training_clip(shared: Path, golden: dict) -> Clip:
    clip = clip_of_frames(shared, 'A', [3, *(golden['refs'] or [])])
    clip.key.boxes = np.array(golden['gt'], np.float32)
    clip.key.labels = np.array(golden['labels'])
    for number, frame in enumerate(clip.refs):
        boxes = [box[1:] for box in golden['ref_gt_bboxes'] if box[0] == number]
        frame.boxes, frame.labels = np.array(boxes, np.float32), clip.key.labels
    return clip


def gradients_of(model: nn.Module, losses: dict) -> tuple[dict, float]:
    """Of every parameter, and the norm of all."""
    model.zero_grad()
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    norms = [g.double().norm() for g in gradients.values() if g is not None]
    return gradients, torch.stack(norms).norm().item()


@pytest.mark.parametrize('name', [n for n in NAMES if n != 'eovod_fcos_lpn_spn'])
def test_training_step(name, shared, monkeypatch):
    """Losses to 1e-4, gradient norms to 2e-3; those of YOLOX are dominated by its scaled stem."""
    golden = load_json(shared / f'golden/vfe2/{name}.train.json')
    # statistics stand still
    monkeypatch.setattr(
        nn.BatchNorm2d, 'train', lambda norm, mode=True: nn.Module.train(norm, False)
    )
    model = built(name, shared)
    losses = training_losses(model, [training_clip(shared, golden)])
    assert set(losses) == set(golden['losses'])
    for key, value in golden['losses'].items():
        assert losses[key].item() == pytest.approx(value, rel=1e-4), key
    gradients, norm = gradients_of(model, losses)
    assert norm == pytest.approx(golden['grad_l2_all'], rel=1e-3)
    for key, value in golden['grad_l2'].items():
        assert gradients[key].norm().item() == pytest.approx(value, rel=5e-3, abs=1e-6), key
    assert all(gradients[key] is None for key in golden['no_grad'])
    assert all(gradients[key].norm() == 0 for key in golden['zero_grad'])


@pytest.mark.parametrize('name', TOTALS)
def test_totals_of_a_training_step(name, shared):
    _, loss, gradient = TOTALS[name]
    model = built(name, shared)
    golden = load_json(shared / 'golden/vfe2/eovod_fcos_lpn.train.json')
    losses = training_losses(model, [training_clip(shared, golden)])
    assert sum(losses.values()).item() == pytest.approx(loss, rel=1e-6)
    assert gradients_of(model, losses)[1] == pytest.approx(gradient, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_detections_of_real_frames(name, shared):
    """All frames; keys and validated detections of every frame are the same, too."""
    compare = load_module(shared / 'golden/compare.py')
    frames = load_json(shared / f'golden/vfe2/{name}.checks.json')['frames']
    model, results = built(name, shared).eval(), []
    for video_id, (video, length) in enumerate(VIDEOS.items()):
        state = model.init_state(video_id=video_id)
        refs = [round(i * (length - 1) / 13) for i in range(14)] if 'eovod' in name else []
        for i in range(length):
            clip = clip_of_frames(shared, video, [i, *(refs if i == 0 else [])])
            clip.key.video_id = video_id
            detections, state = model.step(clip, state)
            results.append(detections.per_class(30))
            if 'location' in state.contexts:
                prior, wanted = state.contexts['location'], frames[f'{video}{i}']
                assert [int(kept.refs[1].sum()) for kept in prior.keys] == wanted['keys']
                assert int(prior.valid.sum()) == wanted['validated']
    expected = compare.load(str(shared / f'golden/vfe2/{name}.npz'))
    matched, worst = compare.matched_fraction(expected, results)
    assert matched >= (0.98 if name == 'yolox_m' else 0.99) and worst >= 0.9
