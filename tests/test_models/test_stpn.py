"""STPN: prompts made once per video. What holds for every video method is in
test_video_methods.py."""

import pytest
import torch
from literal_parts import assert_close, detections_of, image_of, regions_of
from tiny_video_models import (
    adaptive_clips,
    clip_of_frames,
    run,
    tiny_config,
    tiny_model,
    total,
    training_batch,
    training_clips,
    video_frames,
)
from torch.nn.functional import relu

from mmdet.registry import MODELS


@torch.inference_mode()
def test_first_frame_makes_the_prompts_of_the_video():
    """Literally: references without prompts, one softmax over all their tokens."""
    model = tiny_model('stpn')
    clips, detector, expected = adaptive_clips(model, 1, 5), model.detector, []
    refs = [image_of(model, clips[0], place)[0] for place in range(1, 15)]
    prompts = model.prompt_predictor(torch.cat([detector.backbone(x)[-1] for x in refs]))
    head = detector.roi_head.bbox_head
    for clip in clips:
        image, shape = image_of(model, clip)
        boxes, rows = regions_of(detector, detector.neck(detector.backbone(image, prompts)), shape)
        for fc in head.shared_fcs:
            rows = relu(fc(rows))
        outputs = head.fc_cls(rows), head.fc_reg(rows)
        expected.append(detections_of(detector, *outputs, boxes, shape, clip.key))
    assert_close(run(model, clips), expected)


def test_references_carry_no_gradient_and_the_predictor_does():
    model = tiny_model('stpn').train()
    batch = training_batch(model, training_clips(model, 2))
    batch.images.requires_grad_()
    total(model.loss(batch)).backward()
    per_image = batch.images.grad.abs().amax(dim=(1, 2, 3))
    assert [g > 0 for g in per_image] == [True, False, False] * 2
    assert model.prompt_predictor.query.grad.abs().max() > 0


@pytest.mark.parametrize('support_eval', [False, True])
def test_stochastic_depth_of_the_support_pass(support_eval):
    cfg = tiny_config('stpn')
    cfg.detector.backbone.drop_path_rate = 0.5
    cfg.support_eval = support_eval
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    batch = training_batch(model, training_clips(model, 1))
    prompts = [model.prompts.of_clips(batch, [0]) for _ in range(6)]
    assert all(torch.equal(prompts[0], p) for p in prompts) == support_eval
    assert model.detector.backbone.training


@pytest.mark.parametrize('chunk', [1, 3, None])
def test_support_frames_in_parts_make_the_same_prompts(chunk):
    """Of clips with different numbers of support frames, too."""
    model = tiny_model('stpn')
    frames = [video_frames(video, 6) for video in (1, 2)]
    clips = [clip_of_frames(1, frames[0], [0, 1, 5, 3, 1]), clip_of_frames(2, frames[1], [2])]
    with torch.inference_mode():
        (batch,) = model.data_preprocessor(clips)['batches']
        made = model.prompts.of_clips(batch, [0, 1], chunk)
        for prompts, clip in zip(made, clips, strict=True):
            images = [image_of(model, clip, i)[0] for i in range(len(clip.frames))][-4:]
            maps = torch.cat([model.detector.backbone(x)[-1] for x in images])
            torch.testing.assert_close(prompts, model.prompt_predictor(maps))
