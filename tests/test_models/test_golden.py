"""Every two-stage method against what the original computes on real frames (`shared/golden`).

MAMBA's pixel level and TDViT are those of the authors' later implementation (`golden/vfe2`). The
commands run through all frames of the released models in test_rendered_parity.py; here those take
the last video only.
"""

import functools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from golden import clip_of, load_json, load_module, training_losses
from golden_weights import golden_state_dict
from mmengine.config import Config
from torch import Tensor, nn

from mmdet.registry import MODELS
from mmdet.structures import Clip

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FRAMES = 'golden/video/ILSVRC/Data/VID/val'
LENGTHS = {'A': 12, 'B': 8, 'C': 6}  # frames of each video
NO_DROP = {'model.detector.backbone.drop_path_rate': 0.0}
EVERYTHING = dict(max_length=100_000, key_length=100_000)


class Golden(NamedTuple):
    """Where the original's figures lie, without suffix, and how exactly ours are to meet them."""

    config: str
    detections: str
    training: str
    options: dict
    fc_cls: float = 3.0  # factor of the classifier's weight
    videos: str = 'C'  # of which detections are compared
    refs: bool = True  # the first frame of a video comes with references
    loss_rtol: float = 1e-4
    gradient_rtol: float = 5e-3


def tdvit(attention: str, videos: str) -> Golden:
    name = f'vfe2/tdvit_t_{attention}'
    options = {'model.detector.backbone.attention': attention, **NO_DROP}
    return Golden(
        '_base_/models/tdvit_t.py', name, f'{name}.train', options, 0.6, videos, False, 1e-4, 2e-3
    )


GOLDEN = {
    'frcnn_r50_fpn': Golden(
        '_base_/models/faster_rcnn_r50_fpn.py', 'expected/frcnn_r50_fpn', 'train/frcnn_r50_fpn',
        {}, videos='BC', refs=False,
    ),
    'selsa': Golden(
        '_base_/models/selsa_r50_dc5.py', 'expected/selsa_r50_dc5', 'train/selsa_r50_dc5', {}
    ),
    'stpn': Golden(
        '_base_/models/stpn_swint.py', 'expected/stpn', 'train/stpn', NO_DROP, 0.6,
        gradient_rtol=1e-3,
    ),
    'mamba': Golden(
        '_base_/models/mamba_r50_dc5.py', 'expected/mamba', 'train/mamba_r101_dc5',
        {'model.detector.backbone.depth': 101}, loss_rtol=5e-4, gradient_rtol=2e-2,
    ),
    'mamba_pixel': Golden(
        'vid/mamba/mamba_pixel_r101_dc5_6x.py', 'vfe2/mamba_pix_r101', 'vfe2/mamba_pix_r101.train',
        {  # nothing is drawn; the threshold keeps clear of every score
            'model.pixel_memory.memory_cfg': EVERYTHING,
            'model.pixel_memory.score_thr': 0.8,
            'model.pixel_memory.cells_per_box': 10**6,
        },
        videos='BC',
    ),
    'tdvit_joint': tdvit('joint', 'ABC'),
    'tdvit_cross': tdvit('cross', 'C'),
}  # fmt: skip
THERE, HERE = 'pixel.', 'pixel_memory.'  # names of the pixel level's weights
UNCERTAIN = 'ref_fc_embed.bias'  # its gradient is rounding only


def unlimited(config: Path, options: dict) -> nn.Module:
    """The config's model, whose samplers keep every candidate."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    for stage in ('rpn', 'rcnn'):
        sampler = cfg.model.get('detector', cfg.model).train_cfg[stage].sampler
        sampler.num, sampler.pos_fraction = 1_000_000, 0.5
    return MODELS.build(cfg.model)


def there(name: str) -> str:
    return THERE + name.removeprefix(HERE) if name.startswith(HERE) else name


@functools.cache
def built(golden_id: str, shared: Path) -> nn.Module:
    """With weights that depend on the names which they have there."""
    golden = GOLDEN[golden_id]
    model = unlimited(CONFIGS / golden.config, golden.options)
    state = model.state_dict()
    weights = golden_state_dict({there(k): v for k, v in state.items()}, golden.fc_cls)
    if golden_id.startswith('tdvit'):
        checks = load_json(shared / f'golden/{golden.detections}.checks.json')
        for pattern, (factor, offset) in checks['factors']:
            for name in weights:
                if re.search(pattern, name):
                    weights[name] = weights[name] * factor + offset
    model.load_state_dict({name: weights[there(name)] for name in state})
    return model


@pytest.fixture(scope='module', params=list(GOLDEN))
def golden_model(request, shared) -> tuple[Golden, nn.Module]:
    return GOLDEN[request.param], built(request.param, shared)


@pytest.mark.parametrize('golden', GOLDEN.values(), ids=GOLDEN)
def test_names_and_shapes_of_weights(golden, shared):
    with torch.device('meta'):
        model = unlimited(CONFIGS / golden.config, golden.options)
    keys = load_json(shared / f'golden/{golden.detections}.keys.json')
    assert {there(k): list(v.shape) for k, v in model.state_dict().items()} == keys


def training_clip(shared: Path, expected: dict, refs: list[int]) -> Clip:
    """Video A frame 3 and its references; with one for each stage of TDViT, in their order."""
    clip = clip_of([shared / FRAMES / f'A/{i:06d}.JPEG' for i in (3, *refs)])
    if len(refs) == 4:
        for stage, frame in enumerate(clip.refs, start=1):
            frame.role = f'stage{stage}'
    boxes, labels = (expected.get(f'gt_{k}', expected.get(v)) for k, v in TRUTH.items())
    clip.key.boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    clip.key.labels = np.asarray(labels, np.int64)
    return clip


TRUTH = {'bboxes': 'gt', 'labels': 'labels'}  # names of the original, and of vfe2


def check_losses(found: dict[str, Tensor], expected: dict, rtol: float) -> None:
    """Ours are sums over levels, the original's are lists."""
    for name, value in expected.items():
        value = sum(value) if isinstance(value, list) else value
        assert found[name].item() == pytest.approx(value, rel=rtol, abs=1e-6), name


@pytest.mark.slow
def test_training_step(golden_model, shared):
    golden, model = golden_model
    expected = load_json(shared / f'golden/{golden.training}.json')
    refs = expected.get('refs', [1, 6] if golden.refs else [])
    model.zero_grad()
    losses = training_losses(model, [training_clip(shared, expected, refs)])
    check_losses(losses, expected['losses'], golden.loss_rtol)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    norms = {
        there(n): p.grad.double().norm() for n, p in model.named_parameters() if p.requires_grad
    }
    each = expected.get('grad_l2', expected['grad_l2_all'])  # in vfe2, `all` is the norm of all
    total = expected.get('grad_norm_total', expected['grad_l2_all'])
    found = torch.stack(list(norms.values())).norm().item()
    assert found == pytest.approx(total, rel=golden.gradient_rtol)
    assert set(norms) == set(each)
    for key, value in each.items():
        if not key.endswith(UNCERTAIN):
            assert norms[key].item() == pytest.approx(value, rel=golden.gradient_rtol, abs=1e-6), (
                key
            )


@pytest.mark.slow
@pytest.mark.parametrize('variant', ['overlap', 'empty'])
def test_losses_with_other_ground_truth(shared, variant):
    """Overlapping boxes show low-quality matching; no boxes, the divisor of 257's kind."""
    model = built('frcnn_r50_fpn', shared)
    expected = load_json(shared / 'golden/train/variants.json')[variant]['frcnn_r50_fpn']
    with torch.no_grad():
        losses = training_losses(model, [training_clip(shared, expected, [])])
    assert set(losses) == set(expected['losses'])
    check_losses(losses, expected['losses'], 1e-4)


def frame_clip(shared: Path, video: str, ids: list[int]) -> Clip:
    clip = clip_of([shared / FRAMES / f'{video}/{i:06d}.JPEG' for i in ids])
    for frame, frame_id in zip(clip.frames, ids, strict=True):
        frame.video_id, frame.frame_id = ord(video), frame_id
    return clip


@pytest.mark.slow
def test_detections_of_real_frames(golden_model, shared):
    """The videos side by side in one batch, as long as each has frames."""
    golden, model = golden_model
    model.eval()
    refs = load_json(shared / 'golden/train/data.json')['test_with_adaptive_stride']['frame0']
    states = {video: model.init_state(video_id=ord(video)) for video in golden.videos}
    found = {video: [] for video in golden.videos}
    for t in range(max(LENGTHS[video] for video in golden.videos)):
        running = [video for video in golden.videos if t < LENGTHS[video]]
        clips = [
            frame_clip(shared, video, [t, *(refs[video] if t == 0 and golden.refs else [])])
            for video in running
        ]
        detections = model.step_batch(clips, [states[video] for video in running])
        for video, frame in zip(running, detections, strict=True):
            found[video].append(frame.per_class(30))
    results = [frame for frames in found.values() for frame in frames]
    compare = load_module(shared / 'golden/compare.py')
    reference = compare.load(str(shared / f'golden/{golden.detections}.npz'))
    matched, worst_frame = compare.matched_fraction(reference[-len(results) :], results)
    assert matched >= 0.99 and worst_frame >= 0.9
