"""TDViT as a video model: its memory and its references, plans, SELSA on top of it.

What holds for every video method is in test_video_methods.py.
"""

import numpy as np
import pytest
import torch
from tiny_video_models import (
    STAGES,
    adaptive_clips,
    assert_same,
    clip_of_frames,
    losses_of,
    planned_clips,
    run,
    tiny_config,
    tiny_model,
    training_clips,
    unlimited,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.plans import sampler_plan
from mmdet.registry import MODELS
from mmdet.structures import Clip

SPREAD = dict(method='test_with_adaptive_stride', num_ref_imgs=6, frame_range=[-3, 3])


def video(number: int, length: int, size: tuple[int, int] = (48, 64)) -> list[Clip]:
    """The key frames of a video."""
    frames = video_frames(number, length, size)
    return [clip_of_frames(number, frames, [i]) for i in range(length)]


def test_without_memory_it_is_the_single_frame_model():
    model = tiny_model('tdvit', backbone=dict(memory='off'))
    cfg = tiny_config('tdvit')
    plain = MODELS.build(dict(cfg.detector, data_preprocessor=cfg.data_preprocessor)).eval()
    plain.load_state_dict(model.detector.state_dict())
    for a, b in zip(run(model, video(1, 3)), run(plain, video(1, 3)), strict=True):
        assert_same(a, b)


def test_references_of_regions_pass_without_memory():
    clip, seen = adaptive_clips(tiny_model('selsa_on_tdvit'), 1, 6, num_refs=6)[0], []
    for memory in ('earliest', 'off'):
        model = tiny_model('selsa_on_tdvit', backbone=dict(memory=memory))
        begin = model.regions.begin

        def spy(state, refs, own, begin=begin):
            seen.append(refs.rows.clone())
            begin(state, refs, own)

        model.regions.begin = spy
        model.step(clip, model.init_state(video_id=1))
    assert torch.equal(*seen)


def test_selsa_with_a_window_of_the_past():
    """Each frame of the window is computed once, with its memory."""
    model = tiny_model('selsa_on_tdvit')
    clips = planned_clips(model, 1, 6, dict(SPREAD, frame_range=[-3, 3]), 'causal')
    assert {frame.role for clip in clips for frame in clip.refs} == {'window'}
    states = [model.init_state(video_id=1) for _ in range(2)]
    for clip in clips:
        model.step(clip, states[0])
    assert states[0].contexts['temporal'].frames == 6
    rows = model.flow.temporal.regions
    for clip in video(1, 6):
        (last,) = model.data_preprocessor([clip])['batches']
        rows(last, [states[1]])
    # the last frame once more, seen by both memories
    for a, b in zip(rows(last, [states[0]]), rows(last, [states[1]]), strict=True):
        torch.testing.assert_close(a, b)


# ---- training


def test_which_reference_belongs_to_which_stage_matters():
    torch.manual_seed(0)
    model = MODELS.build(unlimited(tiny_config('tdvit'))).train()
    (clip,) = training_clips(model, 1)
    first, second = clip.refs
    losses = []
    for _ in range(2):
        losses.append(losses_of(model, [clip])['loss_cls'])
        first.frame_id, second.frame_id = second.frame_id, first.frame_id
        clip.images = clip.images[[0, 2, 1]]
    assert (losses[0] - losses[1]).abs() > 1e-6


@pytest.mark.parametrize(
    ('method', 'roles', 'message'),
    [
        *[
            ('tdvit', roles, r"method='stagewise_uniform', frame_range=\[4, 8\]")
            for roles in ([], ['ref', 'ref'], ['stage1'], ['stage2', 'stage1'])
        ],
        ('selsa_on_tdvit', ['stage1', 'stage2'], 'a key frame and its references'),
    ],
)
def test_clips_without_their_references_are_refused(method, roles, message):
    model = tiny_model(method).train()
    (clip,) = training_clips(model, 1)
    clip.frames, clip.images = clip.frames[: 1 + len(roles)], clip.images[: 1 + len(roles)]
    for frame, role in zip(clip.refs, roles, strict=True):
        frame.role = role
    with pytest.raises(ConfigError, match=message):
        losses_of(model, [clip])


# ---- plans


def refs(plan, frame_id: int, length: int = 20) -> list[tuple[str, int]]:
    return plan(frame_id, length, np.random.default_rng(0))


def test_plans_of_training():
    plan = tiny_model('tdvit').plan('train', STAGES)
    assert [role for role, _ in refs(plan, 5)] == ['stage1', 'stage2']
    both = dict(
        method='combined',
        samplers=[STAGES, dict(method='bilateral_uniform', num_ref_imgs=2, frame_range=9)],
    )
    plan = tiny_model('selsa_on_tdvit').plan('train', both)
    roles = ['stage1', 'stage2', 'ref', 'ref']
    assert [role for role, _ in refs(plan, 5)] == roles
    assert refs(plan, -1, 1) == [(role, -1) for role in roles]  # an image of a still-image set


def test_plans_of_testing_follow_the_video():
    alone, selsa = tiny_model('tdvit'), tiny_model('selsa_on_tdvit')
    for mode in ('offline', 'causal'):
        plan = alone.plan(mode, None)
        assert plan.in_order and plan.lookahead == 0 and refs(plan, 0) == []
    plan = selsa.plan('offline', SPREAD)
    assert plan.in_order and [role for role, _ in refs(plan, 0)] == ['ref'] * 6
    assert refs(plan, 1) == []
    causal = selsa.plan('causal', SPREAD)
    assert causal.lookahead == 0 and {i for _, i in refs(causal, 0)} == {0}
    window = dict(method='test_with_fix_stride', num_ref_imgs=4, frame_range=[-2, 2])
    with pytest.raises(ConfigError, match='cannot slide ahead of the key frame'):
        selsa.plan('offline', window)


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
