"""MEGA and RDN as models: against the original's procedure, and what their training sees.

What holds for every video method is in test_video_methods.py.
"""

import naive_mega
import numpy as np
import pytest
import torch
from alike import share_found
from literal_parts import detections_of, image_of
from mmengine.config import Config
from tiny_video_models import (
    CONFIGS,
    losses_of,
    packed_once,
    planned_clip,
    planned_clips,
    run,
    tiny_model,
    total,
    training_batch,
    training_clips,
    training_model,
    video_frames,
)
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.registry import MODELS
from mmdet.structures import Detections

CASES = [  # changes of the aggregator
    ('mega', {}),
    ('mega', dict(global_stages=2)),
    ('mega', dict(stages=2)),
    ('rdn', {}),
    ('rdn', dict(stages=1)),
    ('rdn', dict(advanced_stages=2)),
]
AGGREGATOR = 'detector.roi_head.bbox_head.aggregator'


def assert_close(found: Detections, expected: Detections) -> None:
    """Equal up to the rounding of other batch sizes, of which near-equal boxes change places."""
    assert len(found) == len(expected)
    assert share_found(expected, found, score=1e-4, box=1e-2) >= 0.98


@pytest.mark.parametrize('length', [1, 5, 15])
@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(('method', 'changes'), CASES)
@torch.inference_mode()
def test_one_pass_per_frame_equals_relating_all_frames_anew(method, changes, legacy, length):
    options = {f'{AGGREGATOR}.{name}': value for name, value in changes.items()}
    model = tiny_model(method, {**options, 'legacy': legacy})
    head, detector = model.bbox_head, model.detector
    clips = planned_clips(model, 3, length, {})
    images = [image_of(model, clip) for clip in clips]
    cache = [model.regions_of(detector.feats(detector.encode(x)), shape) for x, shape in images]

    def regions(frame: int, number: int) -> tuple[Tensor, Tensor]:
        found = cache[frame]
        assert found.proposals.valid.all()
        return found.proposals.boxes[0, :number], found.roi_feats[0, :number].relu()

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


def test_each_image_passes_the_detector_once(monkeypatch):
    model, counts = tiny_model('mega'), []
    encode = model.detector.encode
    monkeypatch.setattr(model.detector, 'encode', lambda x: counts.append(len(x)) or encode(x))
    state = model.init_state(1)
    for t, clip in enumerate(planned_clips(model, 1, 12, {})):
        before, wanted = sum(counts), {frame.frame_id for frame in clip.refs}
        model.step(packed_once(clip), state)
        # the first clip: four frames of the window, four global ones, some of them the same
        assert sum(counts) - before == len(wanted) == (len(wanted) if t == 0 else int(t < 9))


def test_the_memory_of_the_configs_is_as_long_as_the_window():
    for window in (25, 7):
        cfg = Config.fromfile(CONFIGS / 'vid/mega/mega_r50_c4_1x.py')
        with torch.device('meta'):
            model = MODELS.build(dict(cfg.model, window=window))
        assert model.regions.memory_frames == window


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_half_precision_stays_near_and_leaves_positions_alone(method):
    model, half = tiny_model(method), tiny_model(method).prepare(torch.bfloat16)
    positions = [m.pos for m in half.modules() if getattr(m, 'pos', None) is not None]
    assert positions and all(layer.weight.dtype == torch.float32 for layer in positions)
    clips = planned_clips(model, 2, 4, {})
    for full, low in zip(run(model, clips), run(half, clips), strict=True):
        assert low.boxes.isfinite().all() and len(low) > 3
        assert abs(float(full.scores[0] - low.scores[0])) < 0.2  # random weights exaggerate


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_every_weight_gets_a_gradient(method):
    model = tiny_model(method).train()
    total(losses_of(model, training_clips(model, 1))).backward()
    for name, parameter in model.named_parameters():
        if not name.endswith('.k.bias'):  # shifts all logits of a head alike
            assert parameter.grad.abs().max() > 0, name


def test_memory_frames_change_the_loss_without_a_gradient():
    model = training_model('mega')
    frames, plan = video_frames(0, 30), model.plan('train', None)
    clip = packed_once(planned_clip(0, frames, 29, plan, seed=0))
    clip.key.boxes, clip.key.labels = np.array([[4, 6, 30, 28]], np.float32), np.array([3])
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
        tiny_model('mega', changes)


def test_frames_that_the_plan_does_not_give_are_refused():
    model = tiny_model('mega')
    with pytest.raises(ConfigError, match='ref_img_sampler=None'):
        model.plan('offline', dict(frame_range=3, method='uniform'))
    with pytest.raises(ValueError, match='one by one'):
        model.step(planned_clips(model, 1, 12, {})[4], model.init_state(1))
    (clip,) = training_clips(model, 1)
    clip.frames = clip.frames[:1]
    with pytest.raises(ConfigError, match='trains on 2 local frames, got a clip of 0'):
        losses_of(model.train(), [clip])
