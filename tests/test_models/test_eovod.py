"""EOVOD: what a frame takes from others, on which levels, and what is remembered."""

import copy

import naive_eovod
import pytest
import torch
from alike import share_found
from naive_eovod import Case
from tiny_eovod import (
    CENTERNET,
    DETECTOR,
    NO_SPOILING,
    RELEASED,
    YOLOX,
    clip_of,
    run,
    same,
    tiny_detector,
    tiny_eovod,
)

from mmdet.core.errors import ConfigError
from mmdet.engine.loops import _RunningVideos
from mmdet.models.detections import PendingDetections
from mmdet.registry import MODELS
from mmdet.structures import Detections

BOTH = dict(size_prior=dict(interval=3, margin=0))


def location(state):
    return state.contexts['location']


BANK = dict(update=True, max_length=3000, key_length=3000, cells_per_frame=500)
BACKBONE = dict(num_heads=4, site='backbone', levels=(1, 2), shared=False)
ON_REG = {**DETECTOR, 'bbox_head': dict(DETECTOR['bbox_head'], centerness_on_reg=True)}
C4_C5 = dict(site='backbone', levels=(1, 2), strides=(16, 32))
ALL = dict(queries='all')
SPN = dict(interval=3, margin=0)
CASES = {  # changes of the model, what these are in the description
    'location prior': ({}, Case()),
    'both, margin 0, all branches, class scores': (
        dict(
            location_prior=dict(NO_SPOILING, validate_on='cls_score', score_thr=0.4),
            aggregator=dict(num_heads=4, branches='all'),
            size_prior=SPN,
        ),
        Case(branches='all', validate_on='cls_score', score_thr=0.4, **SPN),
    ),
    'both, margin 1': (
        dict(size_prior=dict(interval=2, margin=1)), Case(interval=2, margin=1)
    ),
    'before the neck': (dict(aggregator=BACKBONE), Case(**C4_C5)),
    'released': (
        dict(location_prior={**NO_SPOILING, **ALL}, memory=BANK,
             aggregator=dict(BACKBONE, branches='all')),
        Case(branches='all', update=True, **ALL, **C4_C5),
    ),
    'all queries, classes alone': (
        dict(detector=ON_REG, location_prior={**NO_SPOILING, **ALL}, memory=BANK,
             aggregator=BACKBONE),
        Case(update=True, **ALL, **C4_C5),
    ),
    'YOLOX with both': (dict(detector=YOLOX, size_prior=SPN), Case(**SPN)),
    'CenterNet': (
        dict(detector=CENTERNET, aggregator=dict(num_heads=4, site='backbone')),
        Case(site='backbone', levels=(0,), strides=(32,)),
    ),
}  # fmt: skip


def like(literal: Detections, found: Detections) -> bool:
    """Equal but for rounding, which a memory of enhanced cells magnifies from frame to frame."""
    return len(literal) == len(found) and share_found(literal, found, 1e-3, 0.1) >= 0.9


@pytest.mark.parametrize('refs', [(0, 2, 5), ()], ids=['references', 'its own past'])
@pytest.mark.parametrize('name', CASES)
def test_every_frame_equals_its_literal_description(name, refs):
    """The first frame, partial frames and full ones again; two passes of PAST_STRIDE."""
    change, case = CASES[name]
    model = tiny_eovod(**change)
    frames = 6 if refs else 12
    expected = list(
        naive_eovod.eovod(
            model, case, [clip_of(1, t) for t in range(frames)], [clip_of(1, r) for r in refs]
        )
    )
    found, state = run(model, 1, frames, refs)
    for t, (frame, one) in enumerate(zip(expected, found, strict=True)):
        literal = PendingDetections(frame.detections, [clip_of(1, t).key]).get()[0]
        assert like(literal, one), t
        assert len(one) > 3
    assert sum(f.looked > 0 and f.validated > 0 for f in expected) >= 2
    starts_plain = case.queries == 'prior' or not refs
    assert (expected[0].looked == 0) == starts_plain
    if case.interval:
        partial = [f.levels for f in expected if f.levels is not None]
        assert partial and (case.margin or any(len(levels) < 3 for levels in partial))
    assert int(location(state).valid.sum()) == expected[-1].validated


def test_a_video_can_go_on_with_the_memory_of_the_one_before_it():
    """`legacy_reset`: unless the number of its folder is a multiple of 1000."""
    change, case = CASES['released']
    model = tiny_eovod(**change, legacy_reset=True)
    keys: naive_eovod.Keys = {level: [] for level in case.levels}
    running = _RunningVideos(model, seed=0)
    for video in (1, 7, 3000):
        if video == 3000:
            keys = {level: [] for level in case.levels}
        clips = [clip_of(video, t, (0, 2) if t == 0 else ()) for t in range(3)]
        refs = [clip_of(video, r) for r in (0, 2)]
        plain = [clip_of(video, t) for t in range(3)]
        for clip, frame in zip(
            clips, naive_eovod.eovod(model, case, plain, refs, keys), strict=True
        ):
            literal = PendingDetections(frame.detections, [clip.key]).get()[0]
            clip.key.video_length = 3
            found, _ = model.step(clip, running.state_of(clip))
            assert like(literal, found), (video, clip.key.frame_id)
        assert frame.looked


def test_legacy_reset_takes_one_video_at_a_time_and_a_bank():
    model = tiny_eovod(**CASES['released'][0], legacy_reset=True)
    states = [model.init_state(video_id=video) for video in (1, 2)]
    with pytest.raises(ConfigError, match='batch_size=1'):
        model.step_batch([clip_of(1, 0), clip_of(2, 0)], states)
    with pytest.raises(ConfigError, match='update=True'):
        tiny_eovod(legacy_reset=True)


def without_attention(model, frames: int) -> list:
    """What the detector of the model finds alone."""
    alone = tiny_eovod(location_prior=None)
    alone.detector.load_state_dict(model.detector.state_dict())
    return run(alone, 1, frames, refs=())[0]


def test_frames_after_one_without_validated_detections_stay_plain():
    model = tiny_eovod(location_prior=dict(NO_SPOILING, score_thr=0.999))
    assert same(run(model, 1, 4)[0], without_attention(model, 4))


def test_the_size_prior_works_alone():
    """Partial frames find what the full head finds on these levels."""
    model = tiny_eovod(location_prior=None, **BOTH)
    found, state = run(model, 1, 3)
    levels = state.contexts['size'].levels
    batch = model.data_preprocessor([clip_of(1, 2)])['batches'][0]
    with torch.inference_mode():
        feats = model.detector.feats(model.detector.encode(batch.images))
        expected = model.detector.find(feats, batch.img_shapes, levels=levels).detections
    assert 1 <= len(levels) < 3 and state.contexts['size'].partial == 2
    assert torch.equal(found[2].boxes, expected.boxes[0, : int(expected.valid.sum())])


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


@pytest.mark.parametrize('name', ['YOLOX with both', 'CenterNet'])
def test_every_weight_of_other_detectors_gets_a_gradient(name):
    model = tiny_eovod(**CASES[name][0]).train()
    clip = clip_of(1, 3, (2, 5), boxes=True)
    losses = model(**model.data_preprocessor([clip], training=True))
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
