"""TDViT as a video model: its references, plans, SELSA on top of it.

What holds for every video method is in test_video_methods.py.
"""

import numpy as np
import pytest
import torch
from tiny_video_models import (
    ADAPTIVE,
    STAGES,
    WINDOW,
    assert_same,
    clip_of_frames,
    losses_of,
    planned_clips,
    run,
    tiny_config,
    tiny_model,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.registry import MODELS


def test_without_memory_it_is_the_single_frame_model():
    model, cfg = tiny_model('tdvit', {'detector.backbone.memory': 'off'}), tiny_config('tdvit')
    plain = MODELS.build(dict(cfg.detector, data_preprocessor=cfg.data_preprocessor)).eval()
    plain.load_state_dict(model.detector.state_dict())
    clips = [clip_of_frames(1, video_frames(1, 3), [i]) for i in range(3)]
    for a, b in zip(run(model, clips), run(plain, clips), strict=True):
        assert_same(a, b)


def test_each_frame_of_a_window_of_the_past_passes_the_memory_once():
    model = tiny_model('selsa_on_tdvit')
    clips = planned_clips(model, 1, 6, dict(ADAPTIVE, num_ref_imgs=6, frame_range=3), 'causal')
    assert {frame.role for clip in clips for frame in clip.refs} == {'window'}
    windowed, plain = (model.init_state(video_id=1) for _ in range(2))
    regions = model.flow.temporal.regions
    for i, clip in enumerate(clips):
        model.step(clip, windowed)
        key_alone = clip_of_frames(1, video_frames(1, 6), [i])
        (last,) = model.data_preprocessor([key_alone])['batches']
        regions(last, [plain])
    # the last frame once more, seen by both memories
    torch.testing.assert_close(regions(last, [windowed]), regions(last, [plain]))


STAGES_MISSING = r"method='stagewise_uniform', frame_range=\[4, 8\]"


@pytest.mark.parametrize(
    ('method', 'roles', 'message'),
    [
        ('tdvit', ['ref', 'ref'], STAGES_MISSING),
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
    plan = selsa.plan('train', dict(method='combined', samplers=[STAGES, around]))
    roles = ['stage1', 'stage2', 'ref', 'ref']
    assert [role for role, _ in refs(plan, 5)] == roles
    assert refs(plan, -1, 1) == [(role, -1) for role in roles]  # an image of a still-image set
    for mode in ('offline', 'causal'):
        plan = alone.plan(mode, None)
        assert plan.in_order and plan.lookahead == 0 and refs(plan, 0) == []
    plan = selsa.plan('offline', ADAPTIVE)
    assert plan.in_order and [role for role, _ in refs(plan, 0)] == ['ref'] * 14
    causal = selsa.plan('causal', ADAPTIVE)
    assert causal.lookahead == 0 and {i for _, i in refs(causal, 0)} == {0}
    with pytest.raises(ConfigError, match='cannot slide ahead of the key frame'):
        selsa.plan('offline', WINDOW)
