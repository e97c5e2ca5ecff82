"""STPN and SELSA on STPN: prompts made once per video, literally; how they are made.

What holds for every video method is in test_video_methods.py.
"""

import naive_video
import pytest
import torch
from literal_parts import assert_close, image_of
from tiny_video_models import (
    WINDOW,
    adaptive_clips,
    clip_of_frames,
    losses_of,
    planned_clips,
    run,
    tiny_model,
    training_batch,
    training_clips,
    video_frames,
)

from mmdet.registry import MODELS
from mmdet.structures import Clip

EXTRA = pytest.mark.parametrize('extra', [True, False])

# ---- prompts alone


@pytest.mark.parametrize('support_eval', [False, True])
def test_stochastic_depth_of_the_support_pass(support_eval):
    options = {'detector.backbone.drop_path_rate': 0.5}
    model = tiny_model('stpn', options, support_eval=support_eval).train()
    batch = training_batch(model, training_clips(model, 1))
    prompts = [model.prompts.of_clips(batch, [0]) for _ in range(6)]
    assert all(torch.equal(prompts[0], p) for p in prompts) == support_eval
    assert model.detector.backbone.training


@pytest.mark.parametrize('chunk', [3, None])
@torch.inference_mode()
def test_support_frames_in_parts_make_the_same_prompts(chunk):
    """Of clips with different numbers of support frames, too."""
    model = tiny_model('stpn')
    frames = [video_frames(video, 6) for video in (1, 2)]
    clips = [clip_of_frames(1, frames[0], [0, 1, 5, 3, 1]), clip_of_frames(2, frames[1], [2])]
    (batch,) = model.data_preprocessor(clips)['batches']
    made = model.prompts.of_clips(batch, [0, 1], chunk)
    for prompts, clip in zip(made, clips, strict=True):
        images = [image_of(model, clip, i)[0] for i in range(len(clip.frames))][-4:]
        maps = torch.cat([model.detector.backbone(x)[-1] for x in images])
        torch.testing.assert_close(prompts, model.prompt_predictor(maps))


# ---- with SELSA


@EXTRA
def test_prompts_are_learnt_from_references_that_get_no_gradient(extra):
    """Every other reference prompts (and, unless `extra`, is a reference of the regions, too)."""
    model = tiny_model('stpn_selsa', extra_frames=extra).train()
    batch = training_batch(model, training_clips(model, 2, num_refs=4))
    batch.images.requires_grad_()
    losses = model.loss(batch)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    with_gradient = [True, *[not extra] * 2, True, True]
    assert [bool(g.any()) for g in batch.images.grad] == with_gradient * 2
    assert model.prompt_predictor.query.grad.any()


def check(model, clips: list[Clip], support: list[int], refs: list[list[int]], extra: bool) -> None:
    """The frames of a video equal the literal ones, each of which sees `refs`."""
    images = [image_of(model, clip) for clip in clips]
    stack = torch.cat([image for image, _ in images])
    with torch.inference_mode():
        expected = [
            naive_video.stpn_selsa_detections(model, stack, shape, clip.key, support, ids, extra)
            for (_, shape), clip, ids in zip(images, clips, refs, strict=True)
        ]
    assert_close(run(model, clips), expected)


@EXTRA
@pytest.mark.parametrize('length', [1, 3])
def test_frames_of_a_video_equal_the_literal_ones(extra, length):
    model = tiny_model('stpn_selsa', extra_frames=extra)
    clips = adaptive_clips(model, 1, length, num_refs=5)
    refs = [frame.frame_id for frame in clips[0].refs]
    assert refs == [round(i * (length - 1) / 4) for i in range(5)]
    support, seen = (refs[1::2], refs[::2]) if extra else (refs, refs)
    check(model, clips, support, [seen] * length, extra)


def test_without_references_the_first_frame_prompts_itself():
    frames = video_frames(1, 2)
    clips = [clip_of_frames(1, frames, [i]) for i in range(2)]
    check(tiny_model('stpn_selsa'), clips, [0], [[], []], extra=True)


@pytest.mark.parametrize(('mode', 'around'), [('offline', (-1, 1)), ('causal', (-2, -1))])
def test_a_window_is_prompted_by_what_it_starts_with(mode, around):
    """Every frame of the window has the same prompts, those of every other frame it starts with."""
    model = tiny_model('stpn_selsa')
    clips = planned_clips(model, 1, 4, WINDOW, mode)
    start = [0, 0, 1] if mode == 'offline' else [0, 0, 0]
    assert [f.frame_id for f in clips[0].refs if f.role == 'window'] == start
    assert [f.frame_id for f in clips[0].refs if f.role == 'prompt'] == [0]
    refs = [[min(max(i + d, 0), 3) for d in around] for i in range(4)]
    check(model, clips, [0], refs, extra=True)


def test_what_the_settings_need():
    model = tiny_model('stpn_selsa').train()
    with pytest.raises(ValueError, match=r'at least 2 .*got clips of 2 .*num_ref_imgs=4'):
        losses_of(model, training_clips(model, 1, num_refs=1))
    both = tiny_model('stpn_selsa', extra_frames=False)
    assert model.plan('offline', WINDOW).in_order and both.plan('causal', WINDOW) is None
    with pytest.raises(ValueError, match='test_with_adaptive_stride'):
        both.plan('offline', WINDOW)


# ---- what makes prompts

PREDICTORS = ['AttentionPromptPredictor', 'AveragePromptPredictor', 'MixerPromptPredictor']


def predictor(name: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    heads = dict(num_heads=2) if name == 'AttentionPromptPredictor' else {}
    small = dict(embed_dims=6, num_prompts=2, prompt_dims=4, **heads)
    return MODELS.build(dict(type=name, **{**small, **settings}))


@pytest.mark.parametrize('name', PREDICTORS)
def test_any_number_of_frames_in_any_order_and_videos_do_not_meet(name):
    model, features = predictor(name), torch.randn(3, 5, 6, 9, 8)
    prompts = model(features)
    assert prompts.shape == (3, 2, 4)
    torch.testing.assert_close(prompts, torch.stack([model(x.flip(0)) for x in features]))


def test_prompts_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match='prompt_dims 4 is no multiple of num_heads 3'):
        predictor('AttentionPromptPredictor', num_heads=3)
    with pytest.raises(ValueError, match=r'\(1, 1\) has fewer tokens than num_prompts 2'):
        predictor('AveragePromptPredictor')(torch.randn(3, 6, 1, 1))
