"""Methods against what other implementations compute on real frames (`shared/golden`).

Those of 1.x; FCOS, YOLOX, EOVOD, MAMBA's pixel level and TDViT (`golden/vfe2`) are an independent
implementation's. Of the released models, test_rendered_parity.py runs the commands.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from golden_weights import frames_of, golden_state_dict, matched
from mmengine.config import Config
from torch import Tensor, nn

from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FRAMES = 'golden/video/ILSVRC/Data/VID/val'
LENGTHS = {'A': 12, 'B': 8, 'C': 6}  # frames of each video
SCALE = (320, 180)
NO_DROP = {'model.detector.backbone.drop_path_rate': 0.0}
EVERYTHING = dict(max_length=100_000, key_length=100_000)
PRIORS = ('train_plain_prob', 'train_drop_prob', 'train_jitter', 'train_distractors')
PLAIN_PRIOR = {f'model.location_prior.{name}': 0 for name in PRIORS}
ALL_KEYS = {**PLAIN_PRIOR, 'model.memory.num_keys': None}  # nothing is drawn


class Golden(NamedTuple):
    """Where the original's figures lie, without suffix, and how exactly ours are to meet them."""

    config: str
    name: str
    training: str | None
    options: dict = {}
    fc_cls: float = 3.0  # factor of the classifier's weight
    videos: str = 'C'  # of which detections are compared, side by side
    refs: bool = True  # the first frame of a video comes with references
    gradient_rtol: float = 5e-3
    total_rtol: float = 1e-3  # of the norm of all gradients
    loss_rtol: float = 1e-4
    share: float = 0.99  # of the detections are found


def vfe2(config: str, name: str, options: dict, **changes) -> Golden:
    return Golden(config, f'vfe2/{name}', f'vfe2/{name}.train', options, **changes)


def tdvit(attention: str, videos: str) -> Golden:
    options = {'model.detector.backbone.attention': attention, **NO_DROP}
    return vfe2(
        '_base_/models/tdvit_t.py', f'tdvit_t_{attention}', options,
        fc_cls=0.6, videos=videos, refs=False, gradient_rtol=2e-3,
    )  # fmt: skip


GOLDEN = {
    'frcnn_r50_fpn': Golden(
        '_base_/models/faster_rcnn_r50_fpn.py', 'expected/frcnn_r50_fpn', 'train/frcnn_r50_fpn',
        refs=False,
    ),
    'selsa': Golden(
        '_base_/models/selsa_r50_dc5.py', 'expected/selsa_r50_dc5', 'train/selsa_r50_dc5'
    ),
    'stpn': Golden(
        '_base_/models/stpn_swint.py', 'expected/stpn', 'train/stpn', NO_DROP, 0.6,
        gradient_rtol=1e-3,
    ),
    'mamba': Golden(
        '_base_/models/mamba_r50_dc5.py', 'expected/mamba', 'train/mamba_r101_dc5',
        {'model.detector.backbone.depth': 101},
        gradient_rtol=2e-2, total_rtol=5e-3, loss_rtol=5e-4,
    ),
    'mamba_pixel': vfe2(
        'vid/mamba/mamba_pixel_r101_dc5_6x.py', 'mamba_pix_r101',
        {  # nothing is drawn; the threshold keeps clear of every score
            'model.pixel_memory.memory_cfg': EVERYTHING,
            'model.pixel_memory.score_thr': 0.8,
            'model.pixel_memory.cells_per_box': 10**6,
        },
    ),
    'tdvit_joint': tdvit('joint', 'AC'),
    'tdvit_cross': tdvit('cross', 'C'),
    'fcos': vfe2('vid/fcos/fcos_r101_fpn_9x.py', 'fcos_r101', {}, refs=False),
    'yolox': vfe2('vid/yolox/yolox_m_90e.py', 'yolox_m', {}, refs=False, share=0.98),
    'eovod': vfe2('vid/eovod/eovod_fcos_r101_lpn_9x.py', 'eovod_fcos_lpn', ALL_KEYS),
    'eovod_sizes': Golden(  # as `eovod` in training; a second full frame in testing
        'vid/eovod/eovod_fcos_r101_lpn_spn_9x.py', 'vfe2/eovod_fcos_lpn_spn', None, ALL_KEYS,
        videos='A',
    ),
}  # fmt: skip
KEYS_ALONE = {  # names of weights
    'eovod_fcos_rel': 'eovod_fcos_r101_all_9x.py',
    'eovod_fcos_rel, released': 'eovod_fcos_r101_released_9x.py',
    'eovod_fcos_lpn_spn_m0': 'eovod_fcos_r101_lpn_spn_9x.py',
    'eovod_yolox_lpn': 'eovod_yolox_m_lpn_90e.py',
}
EVERY_NAME = [(golden.config, golden.name, golden.options) for golden in GOLDEN.values()]
EVERY_NAME += [(f'vid/eovod/{c}', f'vfe2/{n.split(",")[0]}', {}) for n, c in KEYS_ALONE.items()]
TOTALS = {  # settings, sum of losses, norm of the gradient
    'eovod_fcos_rel': ({'model.memory.train_keys': 100_000}, 3.79300308, 39.378115),
    'eovod_fcos_lpn_spn_m0': (
        {'model.aggregator.branches': 'all', 'model.memory.num_keys': None}, 3.69278097, 38.450543
    ),
}  # fmt: skip
THERE, HERE = 'pixel.', 'pixel_memory.'  # names of the pixel level's weights
UNCERTAIN = 'ref_fc_embed.bias'  # its gradient is rounding only


def load_json(path: Path) -> dict:
    return json.loads(path.read_text())


def unlimited(config: str, options: dict) -> nn.Module:
    """The config's model, whose samplers keep every candidate."""
    cfg = Config.fromfile(CONFIGS / config)
    cfg.merge_from_dict(options)
    detector = cfg.model.get('detector', cfg.model)
    for stage in ('rpn', 'rcnn') if 'rpn_head' in detector else ():
        detector.train_cfg[stage].sampler.update(num=1_000_000, pos_fraction=0.5)
    return MODELS.build(cfg.model)


def there(name: str) -> str:
    return THERE + name.removeprefix(HERE) if name.startswith(HERE) else name


def with_weights(model: nn.Module, fc_cls: float, factors: list) -> nn.Module:
    """Weights that depend on the names which they have there."""
    state = model.state_dict()
    weights = golden_state_dict({there(k): v for k, v in state.items()}, fc_cls)
    for pattern, (factor, offset) in factors:
        for name in filter(re.compile(pattern).search, weights):
            weights[name] = weights[name] * factor + offset
    model.load_state_dict({name: weights[there(name)] for name in state})
    return model


def checks_of(shared: Path, name: str) -> dict:
    path = shared / f'golden/{name}.checks.json'
    return load_json(path) if path.exists() else dict(factors=[], frames={})


@pytest.fixture(scope='module', params=list(GOLDEN))
def golden_model(request, shared) -> tuple[Golden, nn.Module]:
    golden = GOLDEN[request.param]
    factors = checks_of(shared, golden.name)['factors']
    model = unlimited(golden.config, golden.options)
    return golden, with_weights(model, golden.fc_cls, factors)


@pytest.mark.parametrize(('config', 'name', 'options'), EVERY_NAME)
def test_names_and_shapes_of_weights(config, name, options, shared):
    with torch.device('meta'):
        state = unlimited(config, options).state_dict()
    keys = load_json(shared / f'golden/{name}.keys.json')
    assert {there(k): list(v.shape) for k, v in state.items()} == keys


def clip_of(shared: Path, video: str, ids: list[int]) -> Clip:
    """Frames of a video, resized to SCALE; one that comes again is packed once."""
    frames, images, distinct = [], [], list(dict.fromkeys(ids))
    for i in ids:
        path = str(shared / FRAMES / f'{video}/{i:06d}.JPEG')
        image = cv2.imread(path)
        height, width = image.shape[:2]
        images.append(cv2.resize(image, SCALE, interpolation=cv2.INTER_LINEAR))
        shapes = dict(ori_shape=(height, width), img_shape=SCALE[::-1])
        factor = (SCALE[0] / width, SCALE[1] / height)
        frames.append(Frame(path, video_id=ord(video), frame_id=i, scale_factor=factor, **shapes))
    images = np.stack([images[ids.index(i)] for i in distinct])
    return Clip(frames, images=torch.from_numpy(images), rows=[distinct.index(i) for i in ids])


# ---- training


def training_clip(shared: Path, golden: dict, refs: list[int]) -> Clip:
    """Video A frame 3 and its references; with one for each stage of TDViT, in their order."""
    clip = clip_of(shared, 'A', [3, *refs])
    boxes, labels = (golden.get(f'gt_{k}', golden.get(v)) for k, v in TRUTH.items())
    clip.key.boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    clip.key.labels = np.asarray(labels, np.int64)
    for number, frame in enumerate(clip.refs):
        if len(refs) == 4:
            frame.role = f'stage{number + 1}'
        own = [box[1:] for box in golden.get('ref_gt_bboxes', ()) if box[0] == number]
        frame.boxes, frame.labels = np.array(own, np.float32), clip.key.labels
    return clip


TRUTH = {'bboxes': 'gt', 'labels': 'labels'}  # names of the original, and of vfe2


def losses_of(model: nn.Module, clip: Clip) -> dict[str, Tensor]:
    model.train()
    model.lay_out(half_precision=False)  # as the runner does
    model.zero_grad()
    return model(**model.data_preprocessor([clip], training=True), mode='loss')


def gradient_norms(model: nn.Module, losses: dict[str, Tensor]) -> tuple[dict, float]:
    """Of every parameter that has a gradient, and of all together."""
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    named = ((there(n), p.grad) for n, p in model.named_parameters())
    norms = {name: grad.double().norm() for name, grad in named if grad is not None}
    return norms, torch.stack(list(norms.values())).norm().item()


def check_losses(found: dict[str, Tensor], expected: dict, rtol: float) -> None:
    """Ours are sums over levels, the original's are lists."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        value = sum(value) if isinstance(value, list) else value
        assert found[name].item() == pytest.approx(value, rel=rtol, abs=1e-6), name


@pytest.mark.slow
def test_training_step(golden_model, shared, monkeypatch):
    golden, model = golden_model
    if golden.training is None:
        pytest.skip('trains as the case before it')
    expected = load_json(shared / f'golden/{golden.training}.json')
    monkeypatch.setattr(  # statistics stand still
        nn.BatchNorm2d, 'train', lambda norm, mode=True: nn.Module.train(norm, False)
    )
    refs = expected.get('refs', [1, 6] if golden.refs else []) or []
    losses = losses_of(model, training_clip(shared, expected, refs))
    check_losses(losses, expected['losses'], golden.loss_rtol)
    norms, total = gradient_norms(model, losses)
    every = expected['grad_l2_all']  # in vfe2 the norm of all
    each = expected.get('grad_l2', every)
    assert set(norms) == set(each)
    assert total == pytest.approx(expected.get('grad_norm_total', every), rel=golden.total_rtol)
    for key, value in each.items():
        wanted = pytest.approx(value, rel=golden.gradient_rtol, abs=1e-6)
        assert key.endswith(UNCERTAIN) or norms[key].item() == wanted, key
    assert all(norms[key] == 0 for key in expected.get('zero_grad', ()))


@pytest.mark.slow
@pytest.mark.parametrize('golden_model', ['frcnn_r50_fpn'], indirect=True)
@pytest.mark.parametrize('variant', ['overlap', 'empty'])
def test_losses_with_other_ground_truth(golden_model, shared, variant):
    """Overlapping boxes show low-quality matching; no boxes, the divisor of 257's kind."""
    _, model = golden_model
    expected = load_json(shared / 'golden/train/variants.json')[variant]['frcnn_r50_fpn']
    with torch.no_grad():
        losses = losses_of(model, training_clip(shared, expected, []))
    check_losses(losses, expected['losses'], 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', TOTALS)
def test_totals_of_a_training_step(name, shared):
    options, loss, gradient = TOTALS[name]
    model = unlimited(f'vid/eovod/{KEYS_ALONE[name]}', {**PLAIN_PRIOR, **options})
    with_weights(model, 3.0, checks_of(shared, 'vfe2/eovod_fcos_lpn')['factors'])
    expected = load_json(shared / 'golden/vfe2/eovod_fcos_lpn.train.json')
    losses = losses_of(model, training_clip(shared, expected, expected['refs']))
    assert sum(losses.values()).item() == pytest.approx(loss, rel=1e-6)
    assert gradient_norms(model, losses)[1] == pytest.approx(gradient, rel=1e-4)


# ---- testing


@pytest.mark.slow
def test_detections_of_real_frames(golden_model, shared):
    """The videos side by side in one batch, as long as each has frames. With EOVOD, keys and
    validated detections of every frame are the same, too."""
    golden, model = golden_model
    model.eval()
    facts = checks_of(shared, golden.name)['frames']
    reference = frames_of(shared / f'golden/{golden.name}.npz')
    first = {'A': 0, 'B': 12, 'C': 20}  # frame of each video there
    states = {video: model.init_state(video_id=ord(video)) for video in golden.videos}
    counts = []
    for t in range(max(LENGTHS[video] for video in golden.videos)):
        running, clips = [v for v in golden.videos if t < LENGTHS[v]], []
        for video in running:
            refs = [round(i * (LENGTHS[video] - 1) / 13) for i in range(14)]
            clips.append(clip_of(shared, video, [t, *(refs if t == 0 and golden.refs else [])]))
        found = model.step_batch(clips, [states[video] for video in running])
        for video, detections in zip(running, found, strict=True):
            counts.append(matched(reference[first[video] + t], detections.per_class(30)))
            prior = states[video].contexts.get('location')
            if prior is not None:
                wanted = facts[f'{video}{t}']
                assert [int(kept.refs[1].sum()) for kept in prior.keys] == wanted['keys']
                assert int(prior.valid.sum()) == wanted['validated']
    assert sum(h for h, _ in counts) >= golden.share * sum(n for _, n in counts)
    assert min(h / max(n, 1) for h, n in counts) >= 0.9
