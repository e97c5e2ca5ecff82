"""STPN: prompts made once per video, key frames in batches."""

import pytest
import torch
from tiny_video_models import (
    adaptive_clips,
    clip_of_frames,
    run,
    tiny_config,
    tiny_model,
    training_clips,
    video_frames,
)

from mmdet.registry import MODELS
from mmdet.structures import Detections


def assert_close(a: Detections, b: Detections) -> None:
    assert len(a) == len(b) > 0
    torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(a.boxes, b.boxes, atol=1e-2, rtol=0)


@torch.inference_mode()
def test_first_frame_makes_the_prompts_of_the_video():
    """Literally: references without prompts, one softmax over all their tokens."""
    model, clips = tiny_model('stpn'), adaptive_clips(1, 5)
    detector = model.detector
    refs = model.data_preprocessor([clips[0]])['batches'][0].images[0, 1:]
    maps = torch.cat([detector.backbone(x[None])[-1] for x in refs])
    prompt = model.prompt_predictor(maps)
    for clip, found in zip(clips, run(model, clips), strict=True):
        image = model.data_preprocessor([clip])['batches'][0].key_images
        feats = detector.neck(detector.backbone(image, prompt))
        proposals = detector.propose(feats, [clip.key.img_shape])
        (expected,) = detector.roi_head.predict(feats, proposals, [clip.key])
        assert_close(found, expected)


@pytest.mark.parametrize('batch', [2, 4, 5])
def test_key_frames_in_batches_equal_one_by_one(batch):
    model = tiny_model('stpn')
    clips = [*adaptive_clips(1, 5), *adaptive_clips(2, 4)]
    alone = [*run(model, clips[:5]), *run(model, clips[5:])]
    states = {video: model.init_state(video_id=video) for video in (1, 2)}
    together = []
    for start in range(0, len(clips), batch):
        part = clips[start : start + batch]
        together += model.step_batch(part, [states[c.key.video_id] for c in part])
    for a, b in zip(alone, together, strict=True):
        assert a.image_id == b.image_id
        assert_close(a, b)


def test_prompts_matter_and_stay():
    model = tiny_model('stpn')
    frames = video_frames(1, 6)
    state = model.init_state(video_id=1)
    model.step(clip_of_frames(1, frames, [0, 1, 5]), state)
    prompt = state.prompt.clone()
    with_refs, _ = model.step(clip_of_frames(1, frames, [3]), state)
    assert torch.equal(state.prompt, prompt)
    (alone,) = run(model, [clip_of_frames(1, frames, [3])])
    assert not torch.equal(with_refs.scores, alone.scores)


def test_references_carry_no_gradient_and_the_predictor_does():
    model = tiny_model('stpn').train()
    batch = model.data_preprocessor(training_clips(2), training=True)['batches'][0]
    batch.images.requires_grad_()
    losses = model.loss(batch)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert batch.images.grad[:, 1:].abs().max() == 0
    assert batch.images.grad[:, 0].abs().max() > 0
    assert model.prompt_predictor.query.grad.abs().max() > 0


@pytest.mark.parametrize('support_eval', [False, True])
def test_stochastic_depth_of_the_support_pass(support_eval):
    cfg = tiny_config('stpn')
    cfg.detector.backbone.drop_path_rate = 0.5
    cfg.support_eval = support_eval
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    images = model.data_preprocessor(training_clips(1), training=True)['batches'][0].images
    maps = [model.support(images[:, 1:]) for _ in range(6)]
    same = all(torch.equal(maps[0], m) for m in maps)
    assert same == support_eval
    assert model.detector.backbone.training
