"""What holds for every method and detector: states, batches, short videos, training."""

import pickle

import numpy as np
import pytest
import torch
from host_waits import CountHostWaits, static_nms
from literal_parts import assert_close
from tiny_video_models import (
    ADAPTIVE,
    DETECTORS,
    adaptive_clips,
    assert_same,
    clip_of_frames,
    losses_of,
    methods,
    packed_once,
    planned_clips,
    run,
    tiny_config,
    tiny_model,
    total,
    training_clips,
    unlimited,
    video_frames,
    without_proposals,
)

from mmdet.models.task_modules import nms
from mmdet.models.vid.video_model import VideoModel
from mmdet.models.vid.window_model import WindowModel
from mmdet.registry import MODELS
from mmdet.structures import Clip

METHODS = methods()
LOSSES = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
EVERY = pytest.mark.parametrize('method', [*DETECTORS, *METHODS])
WITH_REFS = pytest.mark.parametrize('method', METHODS)


def test_every_registered_method_is_among_them():
    """MEGA and RDN, whose clips are of another kind, have test_window_model.py."""
    registered = {c for c in MODELS.module_dict.values() if issubclass(c, VideoModel)}
    tested = {MODELS.get(tiny_config(method).type) for method in METHODS}
    assert {c for c in registered if not issubclass(c, WindowModel)} == tested


@EVERY
def test_interleaved_videos_equal_each_alone_whatever_ran_before(method):
    model = tiny_model(method)
    videos = {video: adaptive_clips(model, video, 4) for video in (1, 2)}
    alone = {video: run(model, clips) for video, clips in videos.items()}
    torch.rand(7)
    states = {video: model.init_state(video_id=video) for video in videos}
    for i in range(4):
        for video, clips in videos.items():
            found, _ = model.step(clips[i], states[video])
            assert_same(found, alone[video][i])


@EVERY
def test_frames_in_one_batch_equal_one_by_one(method):
    """Frames of several videos, which start at different times, and several frames of one."""
    model = tiny_model(method)
    videos = [adaptive_clips(model, video, length) for video, length in ((1, 4), (2, 3))]
    alone = [found for clips in videos for found in run(model, clips)]
    clips = [clip for video in videos for clip in video]
    order = [0, 4, 1, 5, 2, 3, 6]
    for size in (2, 3, 7):
        states = {video: model.init_state(video_id=video) for video in (1, 2)}
        found = []
        for start in range(0, len(order), size):
            part = [clips[i] for i in order[start : start + size]]
            found += model.step_batch(part, [states[c.key.video_id] for c in part])
        assert_close(found, [alone[i] for i in order])


@EVERY
@pytest.mark.parametrize('length', [1, 2])
def test_shortest_videos(method, length):
    model = tiny_model(method)
    found = run(model, adaptive_clips(model, 1, length))
    assert [d.image_id for d in found] == [1000 + i for i in range(length)]
    assert all(len(d) and d.scores.isfinite().all() for d in found)


@EVERY
def test_a_stream_that_starts_in_the_middle_without_references(method):
    frames = video_frames(1, 8)
    found = run(tiny_model(method), [clip_of_frames(1, frames, [i]) for i in range(5, 8)])
    assert all(len(d) and d.scores.isfinite().all() for d in found)


@EVERY
def test_references_of_which_some_frames_are_one(method):
    """The 14 references of a short video show its frames several times; each is packed once."""
    model = tiny_model(method)
    clips = adaptive_clips(model, 1, 2, num_refs=6)
    once = [packed_once(clip) for clip in clips]
    refs = len(clips[0].refs)
    assert (len(once[0].images), len(once[0].frames)) == (2 if refs else 1, 1 + refs)
    assert_close(run(model, once), run(model, clips))


@EVERY
def test_frames_without_proposals(method):
    model = without_proposals(tiny_model(method))
    assert all(len(d) == 0 for d in run(model, adaptive_clips(model, 1, 3)))


@EVERY
def test_other_video_and_other_size_are_refused(method):
    model = tiny_model(method)
    state = model.init_state(video_id=1)
    model.step(clip_of_frames(1, video_frames(1, 2), [0]), state)
    with pytest.raises(ValueError, match=r'init_state\(video_id=2\)'):
        model.step(clip_of_frames(2, video_frames(2, 2), [0]), state)
    other = clip_of_frames(1, video_frames(1, 2, (64, 64)), [1])
    if model.fixed_size:
        with pytest.raises(ValueError, match='resolution'):
            model.step(other, state)
    else:  # no map or region is kept
        assert len(model.step(other, state)[0])
    kept = [getattr(model, part, None) for part in ('regions', 'pixel_memory')]
    assert model.fixed_size == any(part is not None for part in kept)


@WITH_REFS
@pytest.mark.parametrize('mode', ['train', 'offline', 'causal'])
def test_plans_go_to_worker_processes(method, mode):
    """As the data set that holds them does where workers are not forked."""
    given = dict(ADAPTIVE, method='bilateral_uniform') if mode == 'train' else ADAPTIVE
    plan = tiny_model(method).plan(mode, given)
    refs, again = (
        p and [p(key, 40, np.random.default_rng(0)) for key in (0, 10)]
        for p in (plan, pickle.loads(pickle.dumps(plan)))
    )
    assert refs == again and (refs is not None or mode == 'causal')


# ---- host waits


WINDOW = dict(frame_range=[-1, 1], num_ref_imgs=2, method='test_with_fix_stride')


@pytest.mark.parametrize(
    ('method', 'sampler'), [*[(m, ADAPTIVE) for m in [*DETECTORS, *METHODS]], ('selsa', WINDOW)]
)
def test_nothing_waits_between_a_later_frame_and_its_results(method, sampler, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model = tiny_model(method)
    clips = planned_clips(model, 1, 4, sampler)
    state = model.init_state(video_id=1)
    for clip in clips[:2]:
        model.step(clip, state)
    for clip in clips[2:]:
        (batch,) = model.data_preprocessor([clip])['batches']
        with torch.inference_mode(), CountHostWaits() as waits:
            found = model.detect_batch(batch, [state])
        assert waits.total == 0, waits.waits
        assert found.valid.any()


@EVERY
def test_nothing_waits_in_a_training_step(method, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model = tiny_model(method).train()
    (batch,) = model.data_preprocessor(training_clips(model, 2), training=True)['batches']
    model.loss(batch)
    with CountHostWaits() as waits:
        losses = model.loss(batch)
    # where clips have references, the numbers of their images are copied to the GPU
    copies = 0 if method in DETECTORS else waits.waits['lift_fresh']
    assert waits.total == copies, waits.waits
    assert all(value.isfinite() for value in losses.values())


# ---- training


@EVERY
@pytest.mark.parametrize('other_size', [False, True])
def test_loss_of_two_clips_is_the_mean_of_both(method, other_size):
    torch.manual_seed(0)
    model = MODELS.build(unlimited(tiny_config(method))).train()
    a, b = training_clips(model, 2)
    if other_size:
        (b,) = training_clips(model, 1, size=(80, 64))
    first, second, both = (losses_of(model, clips) for clips in ([a], [b], [a, b]))
    for name in LOSSES:
        mean = (first[name] + second[name]) / 2
        torch.testing.assert_close(both[name], mean, rtol=1e-4, atol=1e-6)
    assert all(first[name] != second[name] for name in ('loss_rpn_cls', 'loss_cls'))


@EVERY
@pytest.mark.parametrize('proposals', [True, False])
def test_every_parameter_has_a_gradient(method, proposals):
    """Also where references have no proposals: all ranks of a training must have one for all."""
    model = tiny_model(method).train()
    if not proposals:
        without_proposals(model)
    loss = total(losses_of(model, training_clips(model, 2)))
    loss.backward()
    without = [n for n, p in grads_of(model) if p.grad is None]
    assert without == [] and loss.isfinite()


def image_clips(model, count: int) -> list[Clip]:
    """Clips of an image set: every reference is the key frame."""
    clips = training_clips(model, count)
    for clip in clips:
        clip.images = clip.images[[0] * len(clip.frames)]
        for frame in clip.refs:
            frame.frame_id = clip.key.frame_id
    return clips


@WITH_REFS
def test_an_image_packed_once_trains_as_its_copies_do(method):
    torch.manual_seed(0)
    model = MODELS.build(unlimited(tiny_config(method))).train()
    copies = image_clips(model, 2)
    once = [packed_once(clip) for clip in copies]
    assert [len(clip.images) for clip in once] == [1, 1] and len(copies[0].images) >= 3
    results = []
    for clips in (copies, once):
        model.zero_grad()
        losses = losses_of(model, clips)
        total(losses).backward()
        results.append((losses, {n: p.grad.clone() for n, p in grads_of(model)}))
    for name in LOSSES:
        torch.testing.assert_close(results[0][0][name], results[1][0][name], rtol=1e-5, atol=1e-7)
    for name, gradient in results[0][1].items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            results[1][1][name], gradient, rtol=0, atol=1e-4 * scale + 1e-6, msg=name
        )


def grads_of(model):
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


@pytest.mark.parametrize('method', ['selsa', 'mamba', 'stpn', 'both'])
def test_training_needs_references(method):
    model = tiny_model(method).train()
    (clip,) = training_clips(model, 1)
    clip.frames, clip.images = clip.frames[:1], clip.images[:1]
    with pytest.raises(ValueError, match='ref_img_sampler'):
        losses_of(model, [clip])
    short, long = training_clips(model, 1, num_refs=2)[0], training_clips(model, 1, num_refs=4)[0]
    with pytest.raises(ValueError, match=r'one length, got \[3, 5\] frames'):
        losses_of(model, [short, long])
