"""TDViT as a video model: its memory and its references, plans, SELSA on top of it.

What holds for every video method is in test_video_methods.py.
"""

import numpy as np
import pytest
import torch
from tiny_video_models import (
    ADAPTIVE,
    STAGES,
    WINDOW,
    adaptive_clips,
    assert_same,
    clip_of_frames,
    losses_of,
    planned_clips,
    run,
    tiny_config,
    tiny_model,
    training_clips,
    training_model,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.registry import MODELS
from mmdet.structures import Clip


def video(length: int) -> list[Clip]:
    """The key frames of a video."""
    frames = video_frames(1, length)
    return [clip_of_frames(1, frames, [i]) for i in range(length)]


def test_without_memory_it_is_the_single_frame_model():
    model, cfg = tiny_model('tdvit', {'detector.backbone.memory': 'off'}), tiny_config('tdvit')
    plain = MODELS.build(dict(cfg.detector, data_preprocessor=cfg.data_preprocessor)).eval()
    plain.load_state_dict(model.detector.state_dict())
    for a, b in zip(run(model, video(3)), run(plain, video(3)), strict=True):
        assert_same(a, b)


def test_references_of_regions_pass_without_memory(monkeypatch):
    clip, keys = adaptive_clips(tiny_model('selsa_on_tdvit'), 1, 6, num_refs=6)[0], []
    for memory in ('earliest', 'off'):
        model = tiny_model('selsa_on_tdvit', {'detector.backbone.memory': memory})
        state = model.init_state(video_id=1)
        model.step(clip, state)
        keys.append(state.contexts['regions'].refs)
    torch.testing.assert_close(*keys, rtol=0, atol=0)


def test_selsa_with_a_window_of_the_past():
    """Each frame of the window is computed once, with its memory."""
    model = tiny_model('selsa_on_tdvit')
    clips = planned_clips(model, 1, 6, dict(ADAPTIVE, num_ref_imgs=6, frame_range=3), 'causal')
    assert {frame.role for clip in clips for frame in clip.refs} == {'window'}
    windowed, plain = (model.init_state(video_id=1) for _ in range(2))
    for clip in clips:
        model.step(clip, windowed)
    assert windowed.contexts['temporal'].frames == 6
    regions = model.flow.temporal.regions
    for clip in video(6):
        (last,) = model.data_preprocessor([clip])['batches']
        regions(last, [plain])
    # the last frame once more, seen by both memories
    torch.testing.assert_close(regions(last, [windowed]), regions(last, [plain]))


def test_which_reference_belongs_to_which_stage_matters():
    model, losses = training_model('tdvit'), []
    (clip,) = training_clips(model, 1)
    for _ in range(2):
        losses.append(losses_of(model, [clip])['loss_cls'])
        clip.images = clip.images[[0, 2, 1]]
    assert (losses[0] - losses[1]).abs() > 1e-6


STAGES_MISSING = r"method='stagewise_uniform', frame_range=\[4, 8\]"


@pytest.mark.parametrize(
    ('method', 'roles', 'message'),
    [
        ('tdvit', [], STAGES_MISSING),
        ('tdvit', ['ref', 'ref'], STAGES_MISSING),
        ('tdvit', ['stage1'], STAGES_MISSING),
        ('tdvit', ['stage2', 'stage1'], STAGES_MISSING),
        ('selsa_on_tdvit', ['stage1', 'stage2'], 'a key frame and its references'),
    ],
)
def test_clips_without_their_references_are_refused(method, roles, message):
    model, frames = tiny_model(method).train(), video_frames(0, 3)
    clip = clip_of_frames(0, frames, range(1 + len(roles)), roles)
    clip.key.boxes, clip.key.labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    with pytest.raises(ConfigError, match=message):
        losses_of(model, [clip])


def refs(plan, frame_id: int, length: int = 20) -> list[tuple[str, int]]:
    return plan(frame_id, length, np.random.default_rng(0))


def test_plans_of_training_and_testing():
    around = dict(method='bilateral_uniform', num_ref_imgs=2, frame_range=9)
    alone, selsa = tiny_model('tdvit'), tiny_model('selsa_on_tdvit')
    assert [role for role, _ in refs(alone.plan('train', STAGES), 5)] == ['stage1', 'stage2']
    plan = selsa.plan('train', dict(method='combined', samplers=[STAGES, around]))
    roles = ['stage1', 'stage2', 'ref', 'ref']
    assert [role for role, _ in refs(plan, 5)] == roles
    assert refs(plan, -1, 1) == [(role, -1) for role in roles]  # an image of a still-image set
    for mode in ('offline', 'causal'):
        plan = alone.plan(mode, None)
        assert plan.in_order and plan.lookahead == 0 and refs(plan, 0) == []
    plan = selsa.plan('offline', ADAPTIVE)
    assert plan.in_order and [role for role, _ in refs(plan, 0)] == ['ref'] * 14
    assert refs(plan, 1) == []
    causal = selsa.plan('causal', ADAPTIVE)
    assert causal.lookahead == 0 and {i for _, i in refs(causal, 0)} == {0}
    with pytest.raises(ConfigError, match='cannot slide ahead of the key frame'):
        selsa.plan('offline', WINDOW)
