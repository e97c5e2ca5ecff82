"""MEGA and RDN: the frames that they take, their steps against the papers' procedure, and what
their training sees.

Their legacy mode is compared with the original in test_golden_mega.py; what holds for every video
method is in test_video_methods.py.
"""

from collections import Counter
from types import SimpleNamespace

import naive_mega
import numpy as np
import pytest
import torch
from alike import share_found
from literal_parts import detections_of, image_of
from tiny_video_models import (
    losses_of,
    packed_once,
    planned_clip,
    planned_clips,
    tiny_model,
    total,
    training_batch,
    training_clips,
    training_model,
    video_frames,
)
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.contexts import FrameRegions, WindowRelations
from mmdet.models.vid.window_plans import (
    PastWindowPlan,
    WindowTrainingPlan,
)
from mmdet.plans import make_clip
from mmdet.structures import Frame

# ---- plans


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def of_role(refs, role: str) -> list[int]:
    return [i for r, i in refs if r == role]


@pytest.mark.parametrize(('frame', 'length'), [(0, 200), (3, 8)])
@pytest.mark.parametrize('reach', [12, 3])
def test_training_frames_lie_where_they_should(frame, length, reach):
    plan = WindowTrainingPlan(reach, num_local=2, num_memory=3, num_global=2)
    assert plan(-1, 1, rng()) == [(role, -1) for role, _ in plan(0, 9, rng())]  # an image
    past, seen = max(frame - (25 if reach == 12 else 7), 0), Counter()
    for seed in range(200):
        refs = plan(frame, length, rng(seed))
        assert [role for role, _ in refs] == ['local'] * 2 + ['memory'] * 3 + ['global'] * 2
        assert all(0 <= i < length for _, i in refs)
        assert all(abs(i - past) <= reach for i in of_role(refs, 'memory'))
        assert len(set(of_role(refs, 'global'))) == 2
        seen.update(i - frame for i in of_role(refs, 'local'))
    # the key frame itself among them
    assert set(seen) == {o for o in range(-reach, reach + 1) if 0 <= frame + o < length}


def test_global_frames_of_the_past_are_a_uniform_sample():
    """Told by regions that are the number of their frame."""
    head = SimpleNamespace(topk=3, aggregator=SimpleNamespace(kept_per_frame=lambda best: [3]))
    context, counts = WindowRelations(head, 12, 12, num_global=4, memory_frames=0), Counter()
    valid = torch.ones(1, 5, dtype=torch.bool)
    frames = [torch.full((1, 5, 1), float(t)) for t in range(16)]
    regions = [FrameRegions.of(x.repeat(1, 1, 4), valid.float(), valid, x) for x in frames]
    clips = [make_clip(PastWindowPlan(), t, 16, rng(), lambda i: Frame('', frame_id=i))
             for t in range(16)]  # fmt: skip
    for seed in range(300):
        state = context.init_state(torch.Generator().manual_seed(seed))
        for clip, own in zip(clips, regions, strict=True):
            context.slide(state, clip, own)
        feats, _, there = context.read(state)[3:6]
        counts.update(feats[:, 0, 0][there[:, 0]].int().tolist())
    # 1200 draws, 75 of every frame; sigma is 7.5
    assert all(abs(counts[t] - 75) < 37 for t in range(16))


# ---- testing

AGGREGATOR = 'detector.roi_head.bbox_head.aggregator'


@pytest.mark.parametrize(
    ('method', 'changes', 'mode', 'length'),
    [
        *[('mega', {}, 'offline', length) for length in (1, 5, 15)],
        ('mega', dict(global_stages=2), 'offline', 15),
        ('mega', dict(stages=2), 'offline', 15),
        ('rdn', {}, 'offline', 15),
        ('rdn', dict(stages=1), 'causal', 15),
        ('rdn', dict(advanced_stages=2), 'offline', 15),
    ],
)
@torch.inference_mode()
def test_one_pass_per_frame_equals_relating_all_frames_anew(method, changes, mode, length):
    options = {f'{AGGREGATOR}.{name}': value for name, value in changes.items()}
    model = tiny_model(method, options)
    head, detector = model.bbox_head, model.detector
    clips = planned_clips(model, 3, length, {}, mode)
    images = [image_of(model, clip) for clip in clips]
    cache = [model.regions_of(detector.feats(detector.encode(x)), shape) for x, shape in images]

    def regions(frame: int, number: int) -> tuple[Tensor, Tensor]:
        found = cache[frame]
        assert found.proposals.valid.all()
        return found.proposals.boxes[0, :number], found.roi_feats[0, :number].relu()

    chosen = [frame.frame_id for frame in clips[0].refs if frame.role == 'global']
    assert len(set(chosen)) == (min(4, length) if method == 'mega' else 0)
    video = naive_mega.steps(length, *((3, 3) if mode == 'offline' else (6, 0)), chosen)
    sizes = dict(proposals=20, base=8) | (dict(memory_frames=5) if method == 'mega' else {})
    procedure = getattr(naive_mega, method)
    expected = procedure(regions, head.aggregator, head.shared_fcs[1:], video, **sizes)
    state = model.init_state(3)
    for clip, (boxes, feats), (_, shape) in zip(clips, expected, images, strict=True):
        found, _ = model.step(clip, state)
        logits, deltas = head.fc_cls(feats), head.fc_reg(feats)
        wanted = detections_of(detector, logits, deltas, boxes, shape, clip.key)
        assert len(found) == len(wanted) > 3
        # near-equal boxes change places by rounding
        assert share_found(wanted, found, score=1e-4, box=1e-2) >= 0.98


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


# ---- training


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
        ({'detector.roi_head.bbox_head.topk': 2}, 'distilled=3'),
        ({'type': 'RDN'}, 'RDNAggregator'),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_model('mega', changes)


def test_frames_that_the_plan_does_not_give_are_refused():
    model = tiny_model('mega')
    with pytest.raises(ConfigError, match='ref_img_sampler=None'):
        model.plan('offline', dict(frame_range=3, method='uniform'))
    clips, state = planned_clips(model, 1, 12, {}), model.init_state(1)
    for t in (0, 1):
        model.step(clips[t], state)
    for start in (state, model.init_state(1)):
        with pytest.raises(ValueError, match='one by one'):
            model.step(clips[4], start)
    (clip,) = training_clips(model, 1)
    clip.frames = clip.frames[:1]
    with pytest.raises(ConfigError, match='trains on 2 local frames, got a clip of 0'):
        losses_of(model.train(), [clip])
