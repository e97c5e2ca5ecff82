"""MEGA and RDN as models: against the original's procedure, in batches, in training."""

import naive_mega
import numpy as np
import pytest
import torch
from alike import share_found
from host_waits import CountHostWaits, static_nms
from literal_parts import detections_of, image_of
from mmengine.config import Config
from tiny_video_models import (
    CONFIGS,
    SIZE,
    losses_of,
    packed_once,
    planned_clip,
    total,
    training_batch,
    video_frames,
)
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.task_modules import nms
from mmdet.models.vid.window_model import WindowModel
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections

METHODS = pytest.mark.parametrize('method', ['mega', 'rdn'])
NARROW = {
    'backbone.depth': 18,
    'backbone.base_channels': 12,  # see CHANNELS in tiny_video_models.py
    'backbone.norm_eps': 1e-5,
    'backbone.frozen_stages': -1,
    'backbone.norm_frozen': False,
    'backbone.init_cfg': None,
    'neck.in_channels': [96],
    'neck.out_channels': 8,
    'rpn_head.in_channels': 48,
    'rpn_head.feat_channels': 16,
    'rpn_head.anchor_generator.scales': [0.5, 1, 2],
    'roi_head.bbox_roi_extractor.out_channels': 8,
    'roi_head.bbox_head.in_channels': 8,
    'roi_head.bbox_head.fc_out_channels': 32,
    'roi_head.bbox_head.aggregator.in_channels': 32,
    'roi_head.bbox_head.aggregator.num_attention_blocks': 4,
    'roi_head.bbox_head.aggregator.distilled': 3,
    'roi_head.bbox_head.topk': 8,
    'test_cfg.rpn.max_per_img': 20,
    'train_cfg.rpn_proposal.max_per_img': 20,
}
UNLIMITED = {f'detector.train_cfg.{stage}.sampler.num': 100_000 for stage in ('rpn', 'rcnn')}


def tiny(method: str, **changes) -> WindowModel:
    """`mega` or `rdn` in eval mode, with random weights that give a spread of scores."""
    cfg = Config.fromfile(CONFIGS / f'_base_/models/{method}_r50_c4.py')
    cfg.merge_from_dict({f'model.detector.{k}': v for k, v in NARROW.items()})
    cfg.model.update(dict(num_global=4, memory_frames=5) if method == 'mega' else {}, window=7)
    cfg.model.data_preprocessor.std = (58.0, 57.0, 57.0)
    cfg.merge_from_dict({f'model.{k}': v for k, v in changes.items()})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    for name, weight in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'rpn_cls.weight', 'v.weight')):
            torch.nn.init.normal_(weight, std=0.2)
        if name.endswith('rpn_reg.weight'):
            torch.nn.init.normal_(weight, std=0.02)
        if name.endswith('pos.bias'):  # keeps the logarithm of the gate away from its pole
            torch.nn.init.constant_(weight, 0.5)
        if name.endswith('bn2.weight'):
            torch.nn.init.ones_(weight)
    return model


def clips_of(model: WindowModel, video: int, length: int, mode: str = 'offline') -> list[Clip]:
    frames, plan = video_frames(video, length), model.plan(mode, None)
    return [packed_once(planned_clip(video, frames, t, plan)) for t in range(length)]


def training_clip(model: WindowModel, seed: int = 0, key: int = 9, image: bool = False) -> Clip:
    """A clip of a video of 30 frames with ground truth in its key frame; `image`: of a still."""
    plan = model.plan('train', None)

    def of_image(key: int, length: int, rng: np.random.Generator) -> list[tuple[str, int]]:
        return [(role, key) for role, _ in plan(-1, 1, rng)]

    frames = video_frames(seed, 30)
    clip = packed_once(planned_clip(seed, frames, key, of_image if image else plan, seed))
    rng, scale = np.random.default_rng(seed), [SIZE[1], SIZE[0]] * 2
    low = rng.uniform(0, 0.5, (seed + 2, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.2, 0.5, low.shape)], axis=1) * scale
    clip.key.boxes, clip.key.labels = boxes.astype(np.float32), rng.integers(0, 30, len(boxes))
    return clip


def assert_close(found: Detections, expected: Detections) -> None:
    """Equal up to the rounding of other batch sizes, of which near-equal boxes change places."""
    assert len(found) == len(expected)
    assert share_found(expected, found, score=1e-4, box=1e-2) >= 0.98


@pytest.mark.parametrize('length', [1, 5, 20])
@pytest.mark.parametrize('legacy', [False, True])
@METHODS
@torch.inference_mode()
def test_one_pass_per_frame_equals_relating_all_frames_anew(method, legacy, length):
    model = tiny(method, legacy=legacy)
    head, detector = model.bbox_head, model.detector
    clips, images = clips_of(model, 3, length), []
    images = [image_of(model, clip) for clip in clips_of(model, 3, length, 'causal')]
    cache = [model.regions_of(detector.feats(detector.encode(x)), shape) for x, shape in images]

    def regions(frame: int, number: int) -> tuple[Tensor, Tensor]:
        found = cache[frame]
        assert found.proposals.valid.all()
        return found.proposals.boxes[0, :number], found.rows[0, :number].relu()

    order = np.arange(length)
    np.random.RandomState(0).shuffle(order)
    if legacy:
        first = int(order[0]) if method == 'mega' else 0
        video = naive_mega.legacy_steps(length, 3, order, 4, first)
    else:
        chosen = [frame.frame_id for frame in clips[0].refs if frame.role == 'global']
        assert len(set(chosen)) == (min(4, length) if method == 'mega' else 0)
        video = naive_mega.steps(length, 3, chosen)
    procedure = getattr(naive_mega, method)
    sizes = dict(proposals=20, base=8) | (dict(memory_frames=5) if method == 'mega' else {})
    expected = procedure(regions, head.aggregator, head.shared_fcs[1:], video, **sizes)
    state = model.init_state(3)
    for clip, (boxes, feats), (_, shape) in zip(clips, expected, images, strict=True):
        found, _ = model.step(clip, state)
        logits, deltas = head.fc_cls(feats), head.fc_reg(feats)
        assert_close(found, detections_of(detector, logits, deltas, boxes, shape, clip.key))
        assert len(found) > 3


@pytest.mark.parametrize('mode', ['offline', 'causal'])
@METHODS
def test_videos_and_frames_of_a_batch_do_not_matter(method, mode):
    model = tiny(method)
    a, b = clips_of(model, 0, 9, mode), clips_of(model, 5, 6, mode)
    alone = {}
    for clip in (*a, *b):
        video = clip.key.video_id
        state = state if clip.key.frame_id else model.init_state(video)  # noqa: F821
        alone[video, clip.key.frame_id] = model.step(clip, state)[0]
    states = {video: model.init_state(video) for video in (0, 5)}
    for batch in (a[:3] + b[:1], b[1:4] + a[3:4], [a[4], b[4], a[5], b[5]], a[6:]):
        found = model.step_batch(batch, [states[c.key.video_id] for c in batch])
        for clip, one in zip(batch, found, strict=True):
            assert_close(one, alone[clip.key.video_id, clip.key.frame_id])


@METHODS
def test_each_image_passes_the_detector_once_and_nothing_waits(method, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model, counts = tiny(method), []
    encode = model.detector.encode
    monkeypatch.setattr(model.detector, 'encode', lambda x: counts.append(len(x)) or encode(x))
    state = model.init_state(1)
    for t, clip in enumerate(clips_of(model, 1, 12)):
        before = sum(counts)
        (batch,) = model.data_preprocessor([clip])['batches']
        with torch.inference_mode(), CountHostWaits() as waits:
            found = model.detect_batch(batch, [state])
        assert t == 0 or waits.total == 0, waits.waits
        assert found.valid.any()
        # the first clip: four frames of the window, four global ones, some of them the same
        wanted = {f.frame_id for f in clip.refs}
        assert sum(counts) - before == len(wanted) == (len(wanted) if t == 0 else int(t < 9))


def test_the_memory_of_the_configs_is_as_long_as_the_window():
    for window in (25, 7):
        cfg = Config.fromfile(CONFIGS / 'vid/mega/mega_r50_c4_1x.py')
        with torch.device('meta'):
            model = MODELS.build(dict(cfg.model, window=window))
        assert model.regions.memory_frames == window


@METHODS
def test_half_precision_stays_near(method):
    model, half = tiny(method), tiny(method)
    half.prepare(torch.bfloat16)
    positions = [m.pos for m in half.modules() if getattr(m, 'pos', None) is not None]
    assert positions and all(layer.weight.dtype == torch.float32 for layer in positions)
    states = model.init_state(2), half.init_state(2)
    for clip in clips_of(model, 2, 4):
        pair = zip((model, half), states, strict=True)
        full, low = (m.step(clip, state)[0] for m, state in pair)
        assert low.boxes.isfinite().all() and len(low) > 3
        assert abs(float(full.scores[0] - low.scores[0])) < 0.2  # random weights exaggerate


# ---- training


@METHODS
def test_every_weight_gets_a_gradient(method):
    model = tiny(method).train()
    total(losses_of(model, [training_clip(model)])).backward()
    for name, parameter in model.named_parameters():
        if not name.endswith('.k.bias'):  # shifts all logits of a head alike
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_memory_frames_change_the_loss_without_a_gradient():
    model = tiny('mega', **UNLIMITED).train()
    clip = training_clip(model, key=29)
    learning = {clip.row_of(i) for i in clip.places('key', 'local', 'global')}
    only_memory = {clip.row_of(i) for i in clip.places('memory')} - learning
    batch = training_batch(model, [clip])
    batch.images.requires_grad_()
    before = total(model([batch], mode='loss'))
    before.backward()
    assert {i for i, g in enumerate(batch.images.grad) if g.any()} == learning
    clip.images = clip.images.clone()
    for row in only_memory:
        clip.images[row] = 255 - clip.images[row]
    assert (before - total(losses_of(model, [clip]))).abs() > 1e-4


@METHODS
def test_a_batch_of_two_clips_is_the_mean_of_both(method):
    model = tiny(method, **UNLIMITED).train()
    clips = [training_clip(model, seed) for seed in (0, 1)]
    a, b, both = (losses_of(model, some) for some in (clips[:1], clips[1:], clips))
    for name in both:
        if 'loss' in name:
            mean = (a[name] + b[name]) / 2
            torch.testing.assert_close(both[name], mean, atol=1e-5, rtol=1e-4)


@METHODS
def test_an_image_is_computed_once_and_trained_on(method):
    model = tiny(method).train()
    clip = training_clip(model, image=True)
    assert len(clip.images) == 1 and len(clip.frames) == (8 if method == 'mega' else 3)
    total(losses_of(model, [clip])).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@METHODS
def test_one_clip_is_learned(method):
    model, history = tiny(method).train(), []
    clip = training_clip(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    torch.manual_seed(0)
    for _ in range(15):
        value = total(losses_of(model, [clip]))
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        history.append(float(value))
    assert np.isfinite(history).all() and np.mean(history[-3:]) < 0.7 * np.mean(history[:3])


# ---- mistakes


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'window': 6}, 'odd'),
        ({'num_global': 0}, 'at least one global'),
        ({'detector.roi_head.bbox_head.topk': 2}, 'distilled=3'),
        ({'type': 'RDN'}, 'RDNAggregator'),
        (
            {
                'pixel_memory': dict(type='PixelMemory', in_channels=96, num_attention_blocks=4),
                'detector.backbone.out_indices': (3,),
            },
            'pixel_memory',
        ),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny('mega', **changes)


def test_frames_that_the_plan_does_not_give_are_refused():
    model = tiny('mega')
    with pytest.raises(ConfigError, match='ref_img_sampler=None'):
        model.plan('offline', dict(frame_range=3, method='uniform'))
    with pytest.raises(ValueError, match='one by one'):
        model.step(clips_of(model, 1, 12)[4], model.init_state(1))
