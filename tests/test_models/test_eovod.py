"""EOVOD: batches, memories and training; test_golden.py compares it with another implementation."""

import pytest
import torch
from alike import share_found
from dense_parts import padded
from tiny_video_models import (
    ADAPTIVE,
    WINDOW,
    clip_of_frames,
    losses_of,
    training_batch,
    video_frames,
)
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.engine.loops import _RunningVideos
from mmdet.models.contexts.training_prior import TrainingPrior
from mmdet.models.dense_heads import CenterNetHead, YOLOXHead
from mmdet.models.vid import EOVOD
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections

SIZE = (64, 96)
FCOS = dict(
    type='FCOS',
    backbone=dict(type='ResNet', depth=18, base_channels=12, out_indices=(1, 2, 3)),
    neck=dict(type='FPN', in_channels=[24, 48, 96], out_channels=16, num_outs=3),
    bbox_head=dict(
        type='FCOSHead', num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1,
        strides=(8, 16, 32), reach=3,
    ),
    train_cfg=dict(),
    test_cfg=dict(
        nms_pre=50, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20
    ),
)  # fmt: skip
YOLOX = dict(
    type='YOLOX',
    backbone=dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.125),
    neck=dict(type='YOLOXPAFPN', in_channels=[32, 64, 128], out_channels=32, num_csp_blocks=1),
    bbox_head=dict(type='YOLOXHead', num_classes=3, in_channels=32, feat_channels=32),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner')),
    test_cfg=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.65), max_per_img=20),
)
CENTERNET = dict(
    type='CenterNet',
    backbone=dict(type='ResNet', depth=18, base_channels=12, out_indices=(3,)),
    neck=dict(type='CTResNetNeck', in_channels=96, channels=(12, 12, 12)),
    bbox_head=dict(type='CenterNetHead', num_classes=3, in_channels=12, feat_channels=12),
    train_cfg=dict(),
    test_cfg=dict(score_thr=0.0, max_per_img=20),
)
PLAIN_PRIOR = dict(train_plain_prob=0.0, train_drop_prob=0.0, train_jitter=0.0, train_distractors=0)
SPN = dict(interval=3, margin=0)
CASES = {  # changes of the model
    'location prior': {},
    'both, class scores': dict(
        location_prior=dict(PLAIN_PRIOR, validate_on='cls_score', score_thr=0.4), size_prior=SPN
    ),
    'size prior alone': dict(location_prior=None, size_prior=dict(interval=2, margin=1)),
    'released': dict(
        location_prior=dict(PLAIN_PRIOR, queries='all'),
        memory=dict(update=True, max_length=3000, key_length=3000, cells_per_frame=500),
        aggregator=dict(num_heads=4, site='backbone', levels=(1, 2), shared=False, branches='all'),
    ),
    'YOLOX with both': dict(detector=YOLOX, size_prior=SPN),
    'CenterNet': dict(
        detector=CENTERNET, aggregator=dict(num_heads=4, site='backbone', levels=(0,))
    ),
}
RELEASED = dict(  # too many cells: some are drawn
    CASES['released'],
    memory=dict(update=True, max_length=300, key_length=100, cells_per_frame=40, train_keys=20),
)
BATCHES = {**CASES, 'released': RELEASED}
BATCHES.pop('YOLOX with both')  # its boxes, which nothing cuts off, magnify rounding


def tiny_eovod(**change) -> EOVOD:
    """In eval mode; scores around the threshold, boxes of all sizes, attention that matters."""
    cfg = dict(type='EOVOD', detector=FCOS, data_preprocessor=dict(pad_size_divisor=32))
    cfg['data_preprocessor']['type'] = 'ClipPreprocessor'
    cfg.update(location_prior=PLAIN_PRIOR, memory=dict(num_keys=None))
    model = MODELS.build({**cfg, 'aggregator': dict(num_heads=4), **change})
    torch.manual_seed(0)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=(1.5 / p[0].numel()) ** 0.5)
        elif name.endswith('weight'):  # norms; some start at 0
            nn.init.normal_(p, 1.0, 0.1)
    head = model.detector.bbox_head
    if isinstance(head, YOLOXHead):
        for level in range(3):
            nn.init.normal_(head.multi_level_conv_cls[level].bias, -0.5, 0.3)
            nn.init.constant_(head.multi_level_conv_obj[level].bias, -0.3)
            nn.init.constant_(head.multi_level_conv_reg[level].bias, 1.0)
        learn_statistics(model)
    elif isinstance(head, CenterNetHead):
        nn.init.normal_(head.heatmap_head[-1].weight, std=15.0)
        nn.init.normal_(head.heatmap_head[-1].bias, -1.5, 0.3)
        nn.init.constant_(head.wh_head[-1].bias, 6.0)
    else:
        nn.init.constant_(head.conv_reg.bias, 2.3)
        nn.init.normal_(head.conv_cls.weight, std=0.35)
        nn.init.normal_(head.conv_cls.bias, -4.0, 0.3)
        nn.init.constant_(head.conv_centerness.bias, 1.0)
        for i, scale in enumerate(head.scales):
            nn.init.constant_(scale.scale, 1 + 0.2 * i)
    return model.eval()


@torch.no_grad()
def learn_statistics(model: EOVOD) -> None:
    """Batch norms with the statistics of some frames, or outputs of a deep network explode."""
    for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.momentum = 1.0
    images = model.data_preprocessor([clip_of(1, 0, list(range(1, 12)))])['batches'][0].images
    model.train()
    model.detector.bbox_head(model.detector.feats(model.detector.encode(images)))


def clip_of(video: int, frame: int, refs=(), boxes: bool = False) -> Clip:
    """The frame of a video with references; `boxes` gives every frame two objects."""
    clip = clip_of_frames(video, video_frames(video, 32, SIZE, cell=8), [frame % 32, *refs])
    clip.key.frame_id = frame
    for one in clip.frames if boxes else ():
        shift = 3.0 * one.frame_id
        boxes = [[4 + shift, 6, 30 + shift, 40], [20, 20, 84, 60]]
        one.boxes, one.labels = torch.tensor(boxes).numpy(), torch.tensor([0, 2]).numpy()
    return clip


def run(model: EOVOD, video: int, frames: int, refs=(0, 2, 5), seed: int = 0):
    """Detections of the first frames of a video, and its state."""
    state, found = model.init_state(video_id=video, seed=seed), []
    for i in range(frames):
        found.append(model.step(clip_of(video, i, refs if i == 0 else ()), state)[0])
    return found, state


def same(a: list[Detections], b: list[Detections], score=1e-4, box=1e-2, share=0.98) -> bool:
    """Equal but for rounding, by which near-equal ones change places."""
    pairs = list(zip(a, b, strict=True))
    alike = [len(x) == len(y) and share_found(x, y, score, box) >= share for x, y in pairs]
    return all(alike)


def test_a_video_can_go_on_with_the_memory_of_the_one_before_it():
    """`legacy_reset`: unless the number of its folder is a multiple of 1000."""
    model = tiny_eovod(**CASES['released'], legacy_reset=True)
    running, held = _RunningVideos(model, seed=0), []
    for video in (1, 7, 3000):
        for t in range(3):
            clip = clip_of(video, t, (0, 2) if t == 0 else ())
            clip.key.video_length = 3
            state = running.state_of(clip)
            model.step(clip, state)
            held.append(len(state.contexts['location'].keys[0]))
    assert sorted(held[:6]) == held[:6] and held[3] > held[2] > held[6] > 0
    states = [model.init_state(video_id=video) for video in (1, 2)]
    with pytest.raises(ConfigError, match='batch_size=1'):
        model.step_batch([clip_of(1, 0), clip_of(2, 0)], states)


@pytest.mark.parametrize('name', BATCHES)
def test_a_video_does_not_depend_on_those_before_it_or_beside_it(name):
    model = tiny_eovod(**BATCHES[name])
    alone = {video: run(model, video, 6)[0] for video in (1, 2)}
    states = {video: model.init_state(video_id=video) for video in (1, 2)}
    for i in range(0, 6, 2):  # two frames of each video in one call
        wanted = [(video, frame) for video in (1, 2) for frame in (i, i + 1)]
        clips = [clip_of(v, f, (0, 2, 5) if f == 0 else ()) for v, f in wanted]
        found = model.step_batch(clips, [states[v] for v, _ in wanted])
        assert same(found, [alone[v][f] for v, f in wanted])


@pytest.mark.parametrize(
    ('change', 'frames', 'rows', 'held'),
    [
        (dict(memory=dict(num_keys=6)), 40, 3 * 6, lambda k: sum(len(x[1]) for x in k.past)),
        (RELEASED, 16, 2 * 301, lambda k: len(k.rows_of_layer)),  # a bank has a spare row
    ],
    ids=['own past', 'bank'],
)
def test_without_references_a_video_remembers_its_own_past_in_bounds(change, frames, rows, held):
    model = tiny_eovod(**change)
    found, state = run(model, 1, frames, refs=())
    torch.rand(7)  # what is drawn depends on the video and the seed alone
    assert same(found[:9], run(model, 1, 9, refs=())[0])
    assert 0.5 * rows < sum(map(held, state.contexts['location'].keys)) <= rows
    assert model.plan('causal', dict(frame_range=9)) is None


# ---- training


@pytest.mark.parametrize('name', CASES)
def test_every_weight_gets_a_gradient(name):
    model = tiny_eovod(**CASES[name]).train()
    clips = [clip_of(1, 3, (2, 5), boxes=True), clip_of(2, 4, (3, 6), boxes=True)]
    sum(losses_of(model, clips).values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    if model.location is not None:
        assert model.location.aggregators[0].fc.weight.grad.any()


def test_without_any_prior_training_is_that_of_the_detector():
    model = tiny_eovod(location_prior=dict(PLAIN_PRIOR, train_drop_prob=1.0)).train()
    clip = clip_of(1, 3, (2, 5), boxes=True)
    losses, batch = losses_of(model, [clip]), training_batch(model, [clip])
    feats = model.detector.feats(model.detector.encode(batch.images[:1]))
    expected = model.detector.losses(feats, batch.gt, batch.img_shapes[:1])
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    sum(losses.values()).backward()
    assert all((p.grad == 0).all() for p in model.aggregators.parameters())


def test_ground_truth_stands_in_for_earlier_detections_changed_as_the_settings_say():
    """Boxes left out alone or all of a frame, sides moved by a part of the box, distractors."""
    gt = padded([[[10, 20, 50, 40], [60, 10, 80, 90]], [[0, 0, 30, 30]]], [[0, 1], [2]])
    shapes, times = torch.tensor([[100.0, 200.0], [80.0, 90.0]]), 400

    def draw(**change) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        off = dict(plain_prob=0.0, drop_prob=0.0, jitter=0.0, distractors=0)
        prior = TrainingPrior(**{**off, **change})
        drawn = [prior.boxes(gt, shapes) for _ in range(times)]
        return tuple(torch.stack(x) for x in zip(*drawn, strict=True))

    boxes, valid = draw()
    assert torch.equal(boxes[0], gt.boxes) and torch.equal(valid[0], gt.valid)
    _, valid = draw(plain_prob=0.25)
    assert (valid[:, 0, 0] == valid[:, 0, 1]).all()  # all boxes of a frame or none
    assert valid[:, 0, 0].float().mean().item() == pytest.approx(0.75, abs=0.07)
    _, valid = draw(drop_prob=0.3)
    assert valid[:, 0].float().mean().item() == pytest.approx(0.7, abs=0.06)
    assert (valid[:, 0, 0] != valid[:, 0, 1]).any() and not valid[:, 1, 1].any()
    shift, limit = draw(jitter=0.1)[0][:, 0, 0] - gt.boxes[0, 0], torch.tensor([4.0, 2, 4, 2])
    assert (shift.abs() <= limit).all()
    assert (shift.abs().amax(0) > 0.9 * limit).all() and (shift.mean(0).abs() < 0.2 * limit).all()
    boxes, valid = (x[:, :, 2:] for x in draw(distractors=2))
    assert set(valid[:, 0].sum(1).tolist()) == {0, 1, 2}
    size, sides = boxes[..., 2:] - boxes[..., :2], shapes.flip(1)[None, :, None]
    assert (boxes[..., :2] >= 0).all() and (boxes[..., 2:] <= sides + 1e-3).all()
    assert (size >= 0.05 * sides - 1e-3).all() and (size <= 0.5 * sides + 1e-3).all()


# ---- weights and settings


def test_released_names_are_understood():
    model, old = tiny_eovod(**RELEASED), {}
    for name, value in model.state_dict().items():
        if name.startswith('aggregators.'):
            _, level, rest = name.split('.', 2)
            name = f'memory.memories.{level}.aggregator.{rest}'
        old[name] = value + 1 if value.is_floating_point() else value
    model.load_state_dict(old)
    weight = old['memory.memories.2.aggregator.fc.weight']
    assert torch.equal(model.aggregators['2'].fc.weight, weight)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(location_prior=dict(querys='all')), "has no key 'querys'"),
        (dict(aggregator=dict(site='head')), "site is 'head'. Known: neck, b"),
        (dict(legacy_reset=True), 'update=True'),
        (dict(detector=FCOS['backbone']), 'must be a FCOS, YOLOX or CenterNet, got ResNet'),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(dict(type='EOVOD', **{'detector': FCOS, 'location_prior': {}, **change}))


def test_clips_that_do_not_fit_are_refused():
    model = tiny_eovod().train()
    with pytest.raises(ConfigError, match='key frame and its references'):
        losses_of(model, [clip_of(1, 3, boxes=True)])
    with pytest.raises(ConfigError, match='test_with_adaptive_stride'):
        model.plan('offline', WINDOW)
    assert tiny_eovod(location_prior=None).plan('offline', WINDOW) is None
    assert [role for role, _ in model.plan('offline', ADAPTIVE)(0, 30, None)] == ['ref'] * 14
