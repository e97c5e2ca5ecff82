"""EOVOD: what a frame takes from others, on which levels, and what is remembered."""

import copy
from unittest import mock

import pytest
import torch
from tiny_eovod import (
    DETECTOR,
    NO_SPOILING,
    PREPROCESSOR,
    RELEASED,
    clip_of,
    lively,
    run,
    same,
    tiny_detector,
    tiny_eovod,
)

from mmdet.core.errors import ConfigError
from mmdet.models.contexts.cells import cells_in_boxes
from mmdet.registry import MODELS

BOTH = dict(size_prior=dict(interval=3, margin=0))


def location(state):
    return state.contexts['location']


def without_attention(model, frames: int) -> list:
    """What the detector of the model finds alone."""
    alone = tiny_eovod(location_prior=None)
    alone.detector.load_state_dict(model.detector.state_dict())
    return run(alone, 1, frames, refs=())[0]


def test_the_first_frame_is_that_of_the_detector_alone_and_later_ones_are_not():
    model = tiny_eovod()
    found, state = run(model, 1, 4)
    plain = without_attention(model, 4)
    assert same(found[:1], plain[:1]) and not any(
        same([a], [b]) for a, b in zip(found[1:], plain[1:], strict=True)
    )
    assert 0 < int(location(state).valid.sum()) < len(location(state).valid)


def test_frames_after_one_without_validated_detections_stay_plain():
    model = tiny_eovod(location_prior=dict(NO_SPOILING, score_thr=0.999))
    assert same(run(model, 1, 4)[0], without_attention(model, 4))


@torch.no_grad()
def test_a_frame_equals_its_literal_description():
    """Frame 1: cells of the scaled boxes of frame 0 attend to cells of objects on references."""
    model = tiny_eovod()
    _, state = run(model, 1, 1)
    boxes, valid = location(state).boxes[location(state).valid], location(state).valid
    refs = [0, 2, 5]
    batch = model.data_preprocessor([clip_of(1, 1, refs)])['batches'][0]
    maps = model.detector.feats(model.detector.encode(batch.images))
    on_refs = model.detector.find([x[1:] for x in maps], batch.img_shapes[1:]).detections
    enhanced = []
    for x, stride in zip(maps, (8, 16, 32), strict=True):
        cells = x.flatten(2).transpose(1, 2)
        keys = []
        for r in range(3):
            sure = on_refs.valid[r] & (on_refs.scores[r] > 0.3)
            mask = cells_in_boxes(on_refs.boxes[r][None], sure[None], x.shape[-2:], stride)[0]
            keys.append(cells[r + 1][mask])
        keys = torch.cat(keys)
        all_valid = torch.ones(1, len(boxes), dtype=torch.bool)
        looks = cells_in_boxes(boxes[None], all_valid, x.shape[-2:], stride, 0.8)[0]
        assert 0 < looks.sum() < len(looks) and len(keys)
        own = cells[0].clone()
        own[looks] += model.aggregators['0'](own[looks][None], keys[None])[0]
        enhanced.append(own.T.reshape(1, *x.shape[1:]))
    expected = model.detector.find(
        [x[:1] for x in maps], batch.img_shapes[:1], cls_feats=enhanced
    ).detections
    second, _ = model.step(clip_of(1, 1), state)
    count = int(expected.valid.sum())
    assert len(second) == count > 3 and valid.any()
    torch.testing.assert_close(second.boxes, expected.boxes[0, :count], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(second.scores, expected.scores[0, :count], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_released_form_equals_its_literal_description():
    """All cells of two backbone maps attend to a bank, to which every frame adds what it found."""
    model = tiny_eovod(**RELEASED)
    detector, banks = model.detector, {1: [], 2: []}
    found, _ = run(model, 1, 4)

    def encode(number):
        batch = model.data_preprocessor([clip_of(1, number)])['batches'][0]
        return detector.encode(batch.images), batch.img_shapes

    def add(maps, seen):
        sure = seen.valid & (seen.scores > 0.3)
        for level, stride in ((1, 16), (2, 32)):
            mask = cells_in_boxes(seen.boxes, sure, maps[level].shape[-2:], stride)[0]
            assert mask.sum() <= 40
            banks[level].append(maps[level].flatten(2)[0].T[mask])

    for number in (0, 2, 5):
        maps, shapes = encode(number)
        add(maps, detector.find(detector.feats(maps), shapes).detections)
    for number in range(4):
        maps, shapes = encode(number)
        maps = list(maps)
        for level in (1, 2):
            keys = torch.cat(banks[level])
            assert 0 < len(keys) <= 100
            cells = maps[level].flatten(2).transpose(1, 2)
            cells = cells + model.aggregators[str(level)](cells, keys[None])
            maps[level] = cells.transpose(1, 2).reshape(maps[level].shape)
        seen = detector.find(detector.feats(tuple(maps)), shapes).detections
        add(maps, seen)
        count = int(seen.valid.sum())
        assert len(found[number]) == count
        torch.testing.assert_close(
            found[number].scores, seen.scores[0, :count], rtol=1e-4, atol=1e-5
        )


def levels_run(model, frames: int) -> list:
    """On which levels the head ran, frame by frame (references left out)."""
    seen = []
    original = model.detector.find

    def find(feats, shapes, cls_feats=None, levels=None):
        seen.append(levels)
        return original(feats, shapes, cls_feats, levels)

    with mock.patch.object(model.detector, 'find', find):
        run(model, 1, frames, refs=())
    return seen


@pytest.mark.parametrize('location_prior', [None, NO_SPOILING])
def test_a_full_frame_is_followed_by_partial_ones(location_prior):
    levels = levels_run(tiny_eovod(location_prior=location_prior, **BOTH), 9)
    assert levels[0] is levels[4] is levels[8] is None
    assert all(levels[i] == levels[1] and 1 <= len(levels[1]) < 3 for i in (1, 2, 3))
    assert all(levels[i] == levels[5] for i in (5, 6, 7))


def test_partial_frames_find_what_the_full_head_finds_there():
    model = tiny_eovod(location_prior=None, **BOTH)
    full = tiny_eovod(location_prior=None)
    full.load_state_dict(model.state_dict())
    found, state = run(model, 1, 2)
    levels = state.contexts['size'].levels
    batch = full.data_preprocessor([clip_of(1, 1)])['batches'][0]
    with torch.inference_mode():
        feats = full.detector.feats(full.detector.encode(batch.images))
        expected = full.detector.find(feats, batch.img_shapes, levels=levels).detections
    count = int(expected.valid.sum())
    assert torch.equal(found[1].boxes, expected.boxes[0, :count].clone())
    assert set(expected.levels[0, :count].tolist()) <= set(levels)


@pytest.mark.parametrize('change', [BOTH, RELEASED], ids=['priors', 'released'])
def test_a_video_does_not_depend_on_those_before_it_or_beside_it(change):
    model = tiny_eovod(**change)
    alone = {video: run(model, video, 6)[0] for video in (1, 2)}
    states = {video: model.init_state(video_id=video) for video in (1, 2)}
    together = {1: [], 2: []}
    for i in range(0, 6, 2):  # two frames of each video in one call
        wanted = [(video, frame) for video in (1, 2) for frame in (i, i + 1)]
        clips = [clip_of(v, f, (0, 2, 5) if f == 0 else ()) for v, f in wanted]
        found = model.step_batch(clips, [states[v] for v, _ in wanted])
        for (video, _), detections in zip(wanted, found, strict=True):
            together[video].append(detections)
    for video in (1, 2):
        assert same(together[video], alone[video])


def test_randomness_comes_from_the_video_alone():
    model = tiny_eovod(memory=dict(num_keys=10))
    first, _ = run(model, 1, 4)
    torch.manual_seed(99)
    torch.rand(7)
    assert same(first, run(model, 1, 4)[0])
    state = model.init_state(video_id=1, seed=5)
    assert not same(first, run(model, 1, 4, state=state)[0])


def rows_kept(state) -> int:
    """Rows that the location prior holds, used or not."""
    count = 0
    for kept in location(state).keys:
        if hasattr(kept, 'past'):
            count += sum(len(valid) for _, valid in kept.past)
            count += 0 if kept.refs is None else len(kept.refs[1])
        else:
            count += kept._buffer.shape[1]
    return count


@pytest.mark.parametrize('change', [dict(memory=dict(num_keys=140)), RELEASED],
                         ids=['own past', 'bank'])  # fmt: skip
def test_without_references_a_video_remembers_its_own_past_in_bounds(change):
    model = tiny_eovod(**change)
    state, sizes = model.init_state(video_id=1), []
    for i in range(200):
        _, state = model.step(clip_of(1, i), state)
        sizes.append(rows_kept(state))
    most = 301 if change is RELEASED else 140  # rows of a level; a bank has a spare one
    assert 0 < sizes[0] <= sizes[50] and max(sizes) <= most * len(location(state).keys)
    assert model.plan('causal', dict(frame_range=9)) is None


def test_its_own_past_is_seen():
    model = tiny_eovod()
    found, _ = run(model, 1, 2, refs=())
    plain = without_attention(model, 2)
    assert same(found[:1], plain[:1]) and not same(found[1:], plain[1:])


@pytest.mark.parametrize(
    'change',
    [{}, dict(aggregator=dict(num_heads=4, branches='all')), RELEASED],
    ids=['classes', 'all branches', 'released'],
)
def test_a_batch_of_two_clips_gives_the_mean_of_the_single_losses(change):
    model = tiny_eovod(**change).train()
    if change is RELEASED:
        model.train_keys = 10_000  # all of them, nothing is drawn
    clips = [clip_of(1, 3, (2, 5), boxes=True), clip_of(2, 4, (3, 6), boxes=True)]

    def losses(some):
        return model(**model.data_preprocessor(some, training=True), mode='loss')

    both, single = losses(clips), [losses([clip]) for clip in clips]
    for name, value in both.items():
        mean = (single[0][name] + single[1][name]) / 2
        torch.testing.assert_close(value, mean, rtol=1e-4, atol=1e-5)
    sum(both.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert model.aggregators[next(iter(model.aggregators))].fc.weight.grad.abs().sum() > 0


def test_the_prior_and_the_references_change_the_classification_alone():
    model = tiny_eovod().train()
    clip = clip_of(1, 3, (2, 5), boxes=True)
    first = model(**model.data_preprocessor([clip], training=True))
    for frame in clip.refs:
        frame.boxes = frame.boxes[:1]
        frame.labels = frame.labels[:1]
    second = model(**model.data_preprocessor([clip], training=True))
    assert first['loss_bbox'] == second['loss_bbox'] and first['loss_cls'] != second['loss_cls']


@pytest.mark.parametrize('change', [dict(train_plain_prob=1.0), dict(train_drop_prob=1.0)])
def test_without_any_prior_training_is_that_of_the_detector(change):
    model = tiny_eovod(location_prior={**NO_SPOILING, **change}).train()
    clip = clip_of(1, 3, (2, 5), boxes=True)
    losses = model(**model.data_preprocessor([clip], training=True))
    batch = model.data_preprocessor([clip], training=True)['batches'][0]
    feats = model.detector.feats(model.detector.encode(batch.images[:1]))
    expected = model.detector.losses(feats, batch.gt, batch.img_shapes[:1])
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    sum(losses.values()).backward()
    assert all((p.grad == 0).all() for p in model.aggregators.parameters())


@pytest.mark.parametrize('change', [BOTH, RELEASED], ids=['priors', 'released'])
def test_a_copy_in_bf16_finds_about_the_same_and_leaves_the_model_alone(change):
    model = tiny_eovod(**change)
    before, _ = run(model, 1, 3)
    prepared, _ = run(copy.deepcopy(model).prepare(torch.bfloat16), 1, 3)
    assert same(run(model, 1, 3)[0], before)
    for a, b in zip(before, prepared, strict=True):
        assert a.scores[0].item() == pytest.approx(b.scores[0].item(), abs=0.05)
    assert not same(before, prepared)


def test_released_names_are_understood():
    model = tiny_eovod(**RELEASED)
    old = {}
    for name, value in model.state_dict().items():
        if name.startswith('aggregators.'):
            _, level, rest = name.split('.', 2)
            name = f'memory.memories.{level}.aggregator.{rest}'
        old[name] = value + 1 if value.is_floating_point() else value
    model.load_state_dict(old)
    weight = old['memory.memories.2.aggregator.fc.weight']
    assert torch.equal(model.aggregators['2'].fc.weight, weight)


def test_weights_of_the_detector_alone_start_it():
    """`load_from` of a trained FCOS: its names with `detector.` in front."""
    detector, model = tiny_detector(), tiny_eovod()
    names = {f'detector.{name}' for name in detector.state_dict()}
    assert {n for n in model.state_dict() if not n.startswith('aggregators.')} == names


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(location_prior=dict(querys='all')), "has no key 'querys'"),
        (dict(location_prior=dict(queries='some')), "queries is 'some'. Known: prior, all"),
        (dict(location_prior=dict(validate_on='iou')), "validate_on is 'iou'. Known: score, cls"),
        (dict(location_prior={}, aggregator=dict(site='head')), "site is 'head'. Known: neck, b"),
        (dict(location_prior={}, aggregator=dict(branches='reg')), "branches is 'reg'. Known: cls"),
        (dict(location_prior={}, aggregator=dict(levels=(5,))), 'the neck has the levels 0 to 2'),
        (dict(location_prior={}, memory=dict(keys=3)), "has no key 'keys'"),
        (dict(size_prior=dict(margin=-1)), 'at least 0'),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(dict(type='EOVOD', detector=DETECTOR, **change))


def test_a_two_stage_detector_is_refused():
    backbone = dict(type='ResNet', depth=18, base_channels=4)
    with pytest.raises(ConfigError, match='must be a FCOS, YOLOX or CenterNet, got ResNet'):
        MODELS.build(dict(type='EOVOD', detector=backbone))


def test_training_without_references_is_refused():
    model = tiny_eovod().train()
    batch = model.data_preprocessor([clip_of(1, 3, boxes=True)], training=True)
    with pytest.raises(ConfigError, match='key frame and its references'):
        model(**batch)


def test_a_sliding_window_is_refused():
    window = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_fix_stride')
    with pytest.raises(ConfigError, match='test_with_adaptive_stride'):
        tiny_eovod().plan('offline', window)
    assert tiny_eovod(location_prior=None).plan('offline', window) is None


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
    backbone=dict(type='ResNet', depth=18, base_channels=4, out_indices=(3,)),
    neck=dict(type='CTResNetNeck', in_channels=32, channels=(8, 8, 8)),
    bbox_head=dict(type='CenterNetHead', num_classes=3, in_channels=8, feat_channels=8),
    train_cfg=dict(),
    test_cfg=dict(score_thr=0.0, max_per_img=20),
)


@pytest.mark.parametrize(
    ('detector', 'site'), [(YOLOX, 'neck'), (CENTERNET, 'backbone')], ids=['YOLOX', 'CenterNet']
)
def test_other_detectors_take_both_priors(detector, site):
    cfg = dict(
        detector=detector,
        data_preprocessor=PREPROCESSOR,
        location_prior=dict(NO_SPOILING, score_thr=0.00005),
        aggregator=dict(num_heads=4, site=site),
        **BOTH,
    )
    model = MODELS.build(dict(type='EOVOD', **cfg)).eval()
    found, state = run(model, 1, 3)
    assert len(found[2]) and location(state).valid.any()
    model.train()
    clip = clip_of(1, 3, (2, 5), boxes=True)
    losses = model(**model.data_preprocessor([clip], training=True))
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_lively_models_are_what_the_tests_need():
    """Validated and other detections, on several levels."""
    model = lively(tiny_eovod())
    _, state = run(model.eval(), 1, 1)
    assert 2 <= int(location(state).valid.sum()) <= 18
