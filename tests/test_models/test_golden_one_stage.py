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

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = {
    'fcos_r101': 'vid/fcos/fcos_r101_fpn_9x.py',
    'yolox_m': 'vid/yolox/yolox_m_90e.py',
    'eovod_fcos_lpn': 'vid/eovod/eovod_fcos_r101_lpn_9x.py',
    'eovod_fcos_lpn_spn': 'vid/eovod/eovod_fcos_r101_lpn_spn_9x.py',
}
# no detections of these are here, but their names are, and what a training step gave
KEYS_ALONE = {
    'eovod_fcos_rel': 'vid/eovod/eovod_fcos_r101_all_9x.py',
    'eovod_fcos_lpn_spn_m0': 'vid/eovod/eovod_fcos_r101_lpn_spn_9x.py',
    'eovod_yolox_lpn': 'vid/eovod/eovod_yolox_m_lpn_90e.py',
}
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
LEAST_MATCHED = {'yolox_m': 0.98}
PLAIN = dict.fromkeys(
    ('train_plain_prob', 'train_drop_prob', 'train_jitter', 'train_distractors'), 0
)


@functools.cache
def built(name: str, shared: Path) -> nn.Module:
    """The model of the config, nothing of it random, with the deterministic weights."""
    cfg = Config.fromfile(CONFIGS / {**NAMES, **KEYS_ALONE}[name])
    if cfg.model.type == 'EOVOD':
        cfg.model.location_prior.update(PLAIN)
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


def names_of(config: str) -> tuple[nn.Module, dict]:
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(CONFIGS / config).model)
    return model, {k: list(v.shape) for k, v in model.state_dict().items()}


@pytest.mark.parametrize(
    ('name', 'config'),
    [
        *NAMES.items(),
        *KEYS_ALONE.items(),
        ('eovod_fcos_rel', 'vid/eovod/eovod_fcos_r101_released_9x.py'),
    ],
)
def test_names_shapes_and_number_of_weights(name, config, shared):
    model, names = names_of(config)
    assert names == load_json(shared / f'golden/vfe2/{name}.keys.json')
    if name in PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


def frame_path(shared: Path, video: str, frame_id: int) -> Path:
    return shared / f'golden/video/ILSVRC/Data/VID/val/{video}/{frame_id:06d}.JPEG'


def training_clip(shared: Path, golden: dict) -> Clip:
    ids = [3, *(golden['refs'] or [])]
    clip = clip_of([frame_path(shared, 'A', i) for i in ids])
    clip.key.boxes = np.array(golden['gt'], np.float32)
    clip.key.labels = np.array(golden['labels'])
    for number, frame in enumerate(clip.refs):
        boxes = [box[1:] for box in golden['ref_gt_bboxes'] if box[0] == number]
        frame.boxes, frame.labels = np.array(boxes, np.float32), clip.key.labels
    return clip


@pytest.mark.parametrize('name', [n for n in NAMES if n != 'eovod_fcos_lpn_spn'])
def test_training_step(name, shared):
    """Losses to 1e-4, gradient norms to 2e-3; those of YOLOX are dominated by its scaled stem."""
    golden = load_json(shared / f'golden/vfe2/{name}.train.json')
    model = built(name, shared)
    train = model.train

    def train_without_statistics(mode: bool = True) -> nn.Module:
        train(mode)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return model

    model.train = train_without_statistics
    losses = training_losses(model, [training_clip(shared, golden)])
    del model.train
    assert set(losses) == set(golden['losses'])
    for key, value in golden['losses'].items():
        assert losses[key].item() == pytest.approx(value, rel=1e-4), key
    gradients = gradients_of(model, losses)
    assert norm_of(gradients) == pytest.approx(golden['grad_l2_all'], rel=1e-3)
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
    assert norm_of(gradients_of(model, losses)) == pytest.approx(gradient, rel=1e-4)


def gradients_of(model: nn.Module, losses: dict) -> dict:
    model.zero_grad()
    sum(losses.values()).backward()
    return {n: p.grad for n, p in model.named_parameters()}


def norm_of(gradients: dict) -> float:
    norms = [g.double().norm() for g in gradients.values() if g is not None]
    return torch.stack(norms).norm().item()


def results_of(name: str, shared: Path, videos: dict[str, int]) -> tuple[list, dict]:
    """Per-class detections of every frame, and what the state held after it."""
    model, results, held = built(name, shared).eval(), [], {}
    for video_id, (video, length) in enumerate(videos.items()):
        state = model.init_state(video_id=video_id)
        refs = [round(i * (length - 1) / 13) for i in range(14)] if 'eovod' in name else []
        for i in range(length):
            ids = [i, *(refs if i == 0 else [])]
            clip = clip_of([frame_path(shared, video, j) for j in ids])
            clip.key.video_id = video_id
            detections, state = model.step(clip, state)
            results.append(detections.per_class(30))
            if 'location' in state.contexts:
                prior = state.contexts['location']
                keys = [int(kept.refs[1].sum()) for kept in prior.keys]
                held[f'{video}{i}'] = (keys, int(prior.valid.sum()))
    return results, held


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_detections_of_real_frames(name, shared):
    """All frames; keys and validated detections of every frame are the same, too."""
    compare = load_module(shared / 'golden/compare.py')
    results, held = results_of(name, shared, VIDEOS)
    expected = compare.load(str(shared / f'golden/vfe2/{name}.npz'))
    matched, worst = compare.matched_fraction(expected, results)
    assert matched >= LEAST_MATCHED.get(name, 0.99) and worst >= 0.9
    frames = load_json(shared / f'golden/vfe2/{name}.checks.json')['frames']
    for frame, (keys, validated) in held.items():
        assert (keys, validated) == (frames[frame]['keys'], frames[frame]['validated']), frame
