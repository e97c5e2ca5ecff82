"""TDViT as a video model: batches, videos and states, training clips, plans, SELSA on top of it."""

import copy

import numpy as np
import pytest
import torch
from tiny_video_models import (
    assert_same,
    clip_of_frames,
    random_model,
    run,
    tiny_tdvit_config,
    unlimited,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.models.base import BaseVideoDetector
from mmdet.plans import sampler_plan
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections

STAGES = dict(method='stagewise_uniform', frame_range=[2, 3])
SPREAD = dict(method='test_with_adaptive_stride', num_ref_imgs=6, frame_range=[-3, 3])


def tiny_model(selsa: bool = False, changes: dict | None = None, **backbone) -> BaseVideoDetector:
    return random_model({**tiny_tdvit_config(selsa, **backbone), **(changes or {})})


def video(number: int, length: int, size: tuple[int, int] = (48, 64)) -> list[Clip]:
    """The key frames of a video."""
    frames = video_frames(number, length, size)
    return [clip_of_frames(number, frames, [i]) for i in range(length)]


def video_with_refs(number: int, length: int) -> list[Clip]:
    """The first clip brings six references."""
    frames = video_frames(number, length)
    refs = [round(i * (length - 1) / 5) for i in range(6)]
    return [clip_of_frames(number, frames, [i] + (refs if i == 0 else [])) for i in range(length)]


def assert_close(a: Detections, b: Detections) -> None:
    """Equal up to rounding: first frames of videos share no pass with the others."""
    assert len(a) == len(b) > 0
    torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(a.boxes, b.boxes, rtol=0, atol=1e-2)


# ---- testing


@pytest.mark.parametrize('selsa', [False, True])
@pytest.mark.parametrize('memory', ['earliest', 'patch_shuffle'])
def test_videos_side_by_side_are_as_alone(selsa, memory):
    model = tiny_model(selsa, memory=memory)
    make = video_with_refs if selsa else video
    videos = {number: make(number, length) for number, length in ((1, 7), (2, 5), (3, 6))}
    alone = {number: run(model, clips) for number, clips in videos.items()}
    states = {number: model.init_state(video_id=number) for number in videos}
    starts = {1: 0, 2: 2, 3: 1}  # they begin one after the other
    for t in range(8):
        running = [v for v in videos if 0 <= t - starts[v] < len(videos[v])]
        clips = [videos[v][t - starts[v]] for v in running]
        found = model.step_batch(clips, [states[v] for v in running])
        for v, detections in zip(running, found, strict=True):
            assert_close(detections, alone[v][t - starts[v]])


@pytest.mark.parametrize('batch', [2, 3, 8])
@pytest.mark.parametrize('selsa', [False, True])
def test_frames_of_a_video_in_one_batch_take_turns(batch, selsa):
    model = tiny_model(selsa)
    clips = (video_with_refs if selsa else video)(1, 8)
    expected = run(model, clips)
    state = model.init_state(video_id=1)
    found = []
    for i in range(0, 8, batch):
        some = clips[i : i + batch]
        found += model.step_batch(some, [state] * len(some))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


def test_a_video_after_another_is_as_alone_and_memory_matters():
    model, clips = tiny_model(), video(2, 6)
    first = run(model, clips)
    run(model, video(1, 5))
    for a, b in zip(run(model, clips), first, strict=True):
        assert_same(a, b)
    frames = run(tiny_model(memory='off'), clips)
    assert_same(frames[0], first[0])
    for t in range(1, 6):
        assert (first[t].scores[:5] - frames[t].scores[:5]).abs().max() > 1e-4


def test_without_memory_it_is_the_single_frame_model():
    model = tiny_model(memory='off')
    plain = MODELS.build(
        dict(tiny_tdvit_config().detector, data_preprocessor=tiny_tdvit_config().data_preprocessor)
    ).eval()
    plain.load_state_dict(model.detector.state_dict())
    for a, b in zip(run(model, video(1, 3)), run(plain, video(1, 3)), strict=True):
        assert_same(a, b)


def test_another_resolution_starts_the_memory_anew():
    model = tiny_model()
    small, large = video(1, 4), video(1, 3, size=(64, 96))
    state = model.init_state(video_id=1)
    for clip in small:
        model.step(clip, state)
    found = [model.step(clip, state)[0] for clip in large]
    for a, b in zip(found, run(model, large), strict=True):
        assert_same(a, b)


def test_references_of_regions_pass_without_memory():
    """The same references in the middle of the video's memory and at its start."""
    model = tiny_model(selsa=True)
    context, seen = model.regions, []
    begin = context.begin

    def spy(state, refs, own):
        seen.append(refs.rows.clone())
        begin(state, refs, own)

    context.begin = spy
    run(model, video_with_refs(1, 6))
    off = tiny_model(selsa=True, memory='off')
    off.regions.begin = lambda state, refs, own: seen.append(refs.rows.clone())
    off.step(video_with_refs(1, 6)[0], off.init_state(video_id=1))
    assert torch.equal(*seen)


def test_a_long_video_needs_no_more_memory_than_a_short_one():
    model, clips = tiny_model(), video(1, 40)
    state = model.init_state(video_id=1)

    def held() -> int:
        blocks = state.contexts['temporal'].blocks
        tensors = [x for b in blocks for x in (*b.maps, b.reference) if x is not None]
        return sum(x.untyped_storage().nbytes() for x in tensors)

    sizes = []
    for clip in clips:
        model.step(clip, state)
        sizes.append(held())
    assert len(set(sizes[1:])) == 1 and sizes[0] < sizes[1]


# ---- training


def training_clip(number: int, refs: list[int], roles: list[str]) -> Clip:
    clip = clip_of_frames(number, video_frames(number, 6), [2, *refs])
    for frame, role in zip(clip.refs, roles, strict=True):
        frame.role = role
    clip.key.boxes = np.array([[4, 6, 30, 28], [20, 10, 60, 44]], np.float32)
    clip.key.labels = np.array([3, 7])
    return clip


def losses(model: BaseVideoDetector, clips: list[Clip]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return model(**model.data_preprocessor(clips, training=True), mode='loss')


@pytest.mark.parametrize('selsa', [False, True])
def test_a_batch_is_the_mean_of_its_clips(selsa):
    torch.manual_seed(0)
    model = MODELS.build(unlimited(tiny_tdvit_config(selsa))).train()
    roles = ['stage1', 'stage2', *(['ref', 'ref'] if selsa else [])]
    clips = [
        training_clip(1, [3, 5, 0, 4][: len(roles)], roles),
        training_clip(2, [2, 2, 2, 2][: len(roles)], roles),  # a still image
    ]
    singles = [losses(model, [copy.deepcopy(clip)]) for clip in clips]
    both = losses(model, clips)
    assert {'loss_rpn_cls', 'loss_cls', 'loss_bbox'} <= set(both)
    for name in both:
        if 'loss' in name:
            mean = (singles[0][name] + singles[1][name]) / 2
            torch.testing.assert_close(both[name], mean, rtol=1e-4, atol=1e-6)
    sum(value for name, value in both.items() if 'loss' in name).backward()
    for place in model.temporal.places:
        block = model.detector.backbone.block_at(place)
        assert block.attn.w_msa.qkv.weight.grad.abs().amax(dim=1).min() > 0
        assert block.norm1.weight.grad.abs().max() > 0


def test_which_reference_belongs_to_which_stage_matters():
    torch.manual_seed(0)
    model = MODELS.build(unlimited(tiny_tdvit_config())).train()
    a = losses(model, [training_clip(1, [0, 5], ['stage1', 'stage2'])])
    b = losses(model, [training_clip(1, [5, 0], ['stage1', 'stage2'])])
    assert (a['loss_cls'] - b['loss_cls']).abs() > 1e-6


@pytest.mark.parametrize('roles', [[], ['ref', 'ref'], ['stage1'], ['stage2', 'stage1']])
def test_clips_without_a_reference_per_stage_are_refused(roles):
    model = tiny_model().train()
    with pytest.raises(ConfigError, match=r"method='stagewise_uniform', frame_range=\[4, 8\]"):
        losses(model, [training_clip(1, [3, 5][: len(roles)], roles)])


def test_selsa_needs_references_of_its_own():
    model = tiny_model(selsa=True).train()
    with pytest.raises(ConfigError, match='a key frame and its references'):
        losses(model, [training_clip(1, [3, 5], ['stage1', 'stage2'])])


# ---- plans and parts


def refs(plan, frame_id: int, length: int = 20) -> list[tuple[str, int]]:
    return plan(frame_id, length, np.random.default_rng(0))


def test_plans_of_training():
    plan = tiny_model().plan('train', STAGES)
    assert [role for role, _ in refs(plan, 5)] == ['stage1', 'stage2']
    both = dict(
        method='combined',
        samplers=[STAGES, dict(method='bilateral_uniform', num_ref_imgs=2, frame_range=9)],
    )
    drawn = refs(tiny_model(selsa=True).plan('train', both), 5)
    assert [role for role, _ in drawn] == ['stage1', 'stage2', 'ref', 'ref']
    assert refs(tiny_model(selsa=True).plan('train', both), -1, 1) == [
        ('stage1', -1), ('stage2', -1), ('ref', -1), ('ref', -1)
    ]  # fmt: skip


def test_plans_of_testing_follow_the_video():
    alone, selsa = tiny_model(), tiny_model(selsa=True)
    for mode in ('offline', 'causal'):
        plan = alone.plan(mode, None)
        assert plan.in_order and plan.lookahead == 0 and refs(plan, 0) == []
    plan = selsa.plan('offline', SPREAD)
    assert plan.in_order and [role for role, _ in refs(plan, 0)] == ['ref'] * 6
    assert refs(plan, 1) == []
    causal = selsa.plan('causal', SPREAD)
    assert causal.lookahead == 0 and {i for _, i in refs(causal, 0)} == {0}


def test_a_window_that_looks_ahead_is_refused():
    window = dict(method='test_with_fix_stride', num_ref_imgs=4, frame_range=[-2, 2])
    with pytest.raises(ConfigError, match='cannot slide ahead of the key frame'):
        tiny_model(selsa=True).plan('offline', window)


def test_selsa_with_a_window_of_the_past():
    """A window of the frames before; each frame is computed once, with its memory."""
    model = tiny_model(selsa=True)
    plan = model.plan('causal', dict(SPREAD, frame_range=[-3, 3]))
    plan.plan.sampler.stride = 1
    frames = video_frames(1, 6)
    clips = []
    for i in range(6):
        drawn = refs(plan, i, 6)
        clip = clip_of_frames(1, frames, [i, *(frame for _, frame in drawn)])
        for frame, (role, _) in zip(clip.refs, drawn, strict=True):
            frame.role = role
        clips.append(clip)
    assert len(clips[0].refs) == 7
    run(model, clips)
    state = model.init_state(video_id=1)
    for clip in clips:
        model.step(clip, state)
    assert state.contexts['temporal'].frames == 6
    alone = model.init_state(video_id=1)
    for clip in video(1, 6):
        model.flow.temporal.regions(model.data_preprocessor([clip])['batches'][0], [alone])
    rows = model.flow.temporal.regions  # the last frame once more, seen by both memories
    batch = model.data_preprocessor([video(1, 6)[5]])['batches'][0]
    for a, b in zip(rows(batch, [state]), rows(batch, [alone]), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ('sampler', 'message'),
    [
        (dict(method='combined'), 'has a list of `samplers`'),
        (dict(method='combined', samplers=[]), 'has a list of `samplers`'),
        (dict(method='combined', samplers=[STAGES], frame_range=9), 'and nothing else'),
        (dict(method='stagewise', frame_range=[1]), "Did you mean 'stagewise_"),
    ],
)
def test_samplers_that_make_no_sense_are_refused(sampler, message):
    with pytest.raises(ConfigError, match=message):
        sampler_plan(sampler)


def test_parts_that_do_not_fit_are_refused():
    config = tiny_tdvit_config()
    config.detector.backbone = dict(
        type='SwinTransformer', embed_dims=16, depths=(2, 2), num_heads=(1, 2), out_indices=(0, 1)
    )
    with pytest.raises(ConfigError, match='a TDViTTransformer, got SwinTransformer'):
        MODELS.build(config)
    pixels = dict(type='PixelMemory', in_channels=32, num_attention_blocks=4, stride=8)
    with pytest.raises(ConfigError, match='has a memory of its own'):
        tiny_model(changes=dict(pixel_memory=pixels))
