"""SELSA: cached references, sliding windows, training."""

import pytest
import torch
import torch.nn.functional as F
from tiny_video_models import (
    adaptive_clips,
    assert_same,
    clip_of_frames,
    run,
    tiny_config,
    tiny_model,
    training_clips,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.datasets.ref_sampling import RefSampler
from mmdet.models.vid.selsa import FrameRegions
from mmdet.registry import MODELS
from mmdet.structures import Detections


def literal_selsa(model, frames: torch.Tensor, key: int, refs: list[int]):
    """Everything recomputed at every frame, references first, then the key frame itself."""
    detector, head = model.detector, model.detector.roi_head.bbox_head

    def regions(i):
        clip = clip_of_frames(1, frames, [i])
        feats = detector.extract_feat(model.data_preprocessor([clip])['batches'][0].key_images)
        (proposals,) = detector.propose(feats, [clip.key.img_shape])
        rois = torch.cat([proposals.new_zeros(len(proposals), 1), proposals[:, :4]], dim=1)
        return clip.key, proposals, detector.roi_head.bbox_roi_extractor(feats, rois).flatten(1)

    frame, proposals, x = regions(key)
    r = torch.cat([regions(i)[2] for i in [*refs, key]])
    for fc, aggregator in zip(head.shared_fcs, head.aggregator, strict=True):
        x, r = fc(x), fc(r)
        x = F.relu(x + aggregator(x, r))
        r = F.relu(r)
    return detector.roi_head.detections(head.fc_cls(x), head.fc_reg(x), proposals, frame)


@torch.inference_mode()
@pytest.mark.parametrize('length', [1, 2, 20])
def test_cached_references_equal_recomputing_them(length):
    model = tiny_model('selsa')
    clips = adaptive_clips(1, length)
    frames, refs = video_frames(1, length), [f.frame_id for f in clips[0].refs]
    for i, found in enumerate(run(model, clips)):
        expected = literal_selsa(model, frames, i, refs)
        assert len(found) == len(expected) > 0
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-2, rtol=0)


def test_references_are_computed_once_per_video(monkeypatch):
    model = tiny_model('selsa')
    seen = []
    compute = type(model).compute_regions
    monkeypatch.setattr(
        type(model),
        'compute_regions',
        lambda self, images, frames, state: (
            seen.extend(f.frame_id for f in frames) or compute(self, images, frames, state)
        ),
    )
    run(model, adaptive_clips(1, 20))
    refs = {round(i * 19 / 13) for i in range(14)}
    assert seen == [0, *sorted(refs - {0}), *range(1, 20)]


def test_window_slides_over_the_video(monkeypatch):
    """With stride 1 the window of frame f is f - 15 .. f + 15, clamped, and its middle is f."""
    length, model = 40, tiny_model('selsa')
    sampler = RefSampler(frame_range=[-15, 15], num_ref_imgs=30, method='test_with_fix_stride')
    monkeypatch.setattr(
        type(model),
        'compute_regions',
        lambda self, images, frames, state: [
            FrameRegions(torch.full((1, 5), float(f.frame_id)), torch.zeros(1, 32)) for f in frames
        ],
    )
    windows, keys = [], []
    monkeypatch.setattr(
        type(model),
        'detect',
        lambda self, own, _, frame: (
            keys.append(int(own.proposals[0, 0]))
            or windows.append([int(r.proposals[0, 0]) for r in state.window])
            or Detections()
        ),
    )
    state, frames = model.init_state(video_id=1), video_frames(1, length)
    for i in range(length):
        refs = sampler(i, length, None, pad=False)
        clip = clip_of_frames(1, frames, [i, *refs], num_left_refs=15, frame_stride=1)
        model.step(clip, state)
    assert keys == list(range(length))
    clamped = [[min(max(f + d, 0), length - 1) for d in range(-15, 16)] for f in range(length)]
    assert windows == clamped


def test_a_sliding_window_computes_every_frame_once(monkeypatch):
    length, model, seen = 12, tiny_model('selsa'), []
    compute = type(model).compute_regions
    monkeypatch.setattr(
        type(model),
        'compute_regions',
        lambda self, images, frames, state: (
            seen.extend(f.frame_id for f in frames) or compute(self, images, frames, state)
        ),
    )
    sampler = RefSampler(frame_range=[-3, 3], num_ref_imgs=6, method='test_with_fix_stride')
    state, frames = model.init_state(video_id=1), video_frames(1, length)
    for i in range(length - 3):  # beyond, the last frame comes again and again
        refs = sampler(i, length, None, pad=False)
        clip = clip_of_frames(1, frames, [i, *refs], num_left_refs=3, frame_stride=1)
        model.step(clip, state)
    assert seen == list(range(length))


def test_a_window_cannot_start_in_the_middle():
    model = tiny_model('selsa')
    clip = clip_of_frames(1, video_frames(1, 8), [5], num_left_refs=3, frame_stride=1)
    with pytest.raises(ValueError, match='starts at frame 5 without references'):
        model.step(clip, model.init_state(video_id=1))


def test_fixed_stride_runs_for_real_with_gaps():
    model, length = tiny_model('selsa'), 9
    sampler = RefSampler(
        frame_range=[-2, 2], num_ref_imgs=4, stride=3, method='test_with_fix_stride'
    )
    state, frames = model.init_state(video_id=1), video_frames(1, length)
    for i in range(length):
        refs = sampler(i, length, None, pad=False)
        clip = clip_of_frames(1, frames, [i, *refs], num_left_refs=2, frame_stride=3)
        found, _ = model.step(clip, state)
        assert found.image_id == 1000 + i
        assert len(state.window) == 5


def test_a_video_without_references_has_itself():
    model = tiny_model('selsa')
    frames = video_frames(1, 3)
    found = run(model, [clip_of_frames(1, frames, [i]) for i in range(3)])
    again = run(model, [clip_of_frames(1, frames, [i]) for i in (1,)])
    assert_same(found[1], again[0])


def test_gradient_flows_through_references():
    model = tiny_model('selsa').train()
    batch = model.data_preprocessor(training_clips(1), training=True)['batches'][0]
    batch.images.requires_grad_()
    losses = model.loss(batch)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert batch.images.grad[:, 1:].abs().max() > 0


def test_training_needs_references():
    model = tiny_model('selsa').train()
    clip = training_clips(1)[0]
    clip.frames, clip.images = clip.frames[:1], clip.images[:1]
    with pytest.raises(ValueError, match='ref_img_sampler'):
        model(**model.data_preprocessor([clip], training=True))


def test_head_must_take_references():
    cfg = tiny_config('selsa')
    cfg.detector.roi_head.bbox_head.type = 'Shared2FCBBoxHead'
    cfg.detector.roi_head.bbox_head.pop('aggregator')
    with pytest.raises(ConfigError, match='needs a bbox_head that takes references'):
        MODELS.build(cfg)
