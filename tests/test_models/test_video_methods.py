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
    RELATIONS,
    WINDOW,
    adaptive_clips,
    assert_same,
    lone_clip,
    losses_of,
    methods,
    packed_once,
    plan_of,
    planned_clips,
    run,
    tiny_config,
    tiny_model,
    total,
    training_batch,
    training_clips,
    training_model,
    video_frames,
    without_proposals,
)

from mmdet.models.task_modules import nms
from mmdet.models.vid.video_model import VideoModel
from mmdet.registry import MODELS

METHODS = [*methods(), *RELATIONS]
LOSSES = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
EVERY = pytest.mark.parametrize('method', [*DETECTORS, *METHODS])
WITH_REFS = pytest.mark.parametrize('method', METHODS)


def test_every_registered_method_is_among_them():
    registered = {c for c in MODELS.module_dict.values() if issubclass(c, VideoModel)}
    tested = {MODELS.get(tiny_config(method).type) for method in METHODS}
    assert registered == tested


@EVERY
def test_frames_in_one_batch_equal_one_by_one_whatever_ran_before(method):
    """Frames of several videos, which start at different times, and several frames of one."""
    model = tiny_model(method)
    videos = [adaptive_clips(model, video, length) for video, length in ((1, 4), (2, 3))]
    alone = [found for clips in videos for found in run(model, clips)]
    before = {name: x.clone() for name, x in model.state_dict().items()}
    torch.rand(7)
    clips = [clip for video in videos for clip in video]
    order = [0, 1, 4, 2, 5, 3, 6]  # the second video starts later
    for size in (1, 3, 7):
        states, found = {video: model.init_state(video_id=video) for video in (1, 2)}, []
        for start in range(0, len(order), size):
            part = [clips[i] for i in order[start : start + size]]
            found += model.step_batch(part, [states[c.key.video_id] for c in part])
        assert_close(found, [alone[i] for i in order])
        for one, i in zip(found, order, strict=True):
            assert not one.scores.requires_grad and one.image_id == clips[i].key.image_id
            if size == 1:
                assert_same(one, alone[i])
    assert [state.frames_seen for state in states.values()] == [4, 3]
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


@EVERY
@pytest.mark.parametrize('ids', [[0], [5, 6, 7]])
def test_short_videos_with_references_packed_once_and_streams_without_any(method, ids):
    """A stream may start in the middle. The 6 references of a short video show its frames several
    times."""
    model = tiny_model(method)
    if ids[0]:
        frames = video_frames(1, 8)
        found = run(model, [lone_clip(model, 1, frames, i) for i in ids])
    else:
        clips = adaptive_clips(model, 1, len(ids), num_refs=6)
        once = [packed_once(clip) for clip in clips]
        refs = len(clips[0].refs)
        assert (len(once[0].images), len(once[0].frames)) == (len(ids) if refs else 1, 1 + refs)
        found = run(model, once)
        assert_close(found, run(model, clips))
    assert all(len(d) and d.scores.isfinite().all() for d in found)


@EVERY
def test_frames_without_proposals(method):
    model = without_proposals(tiny_model(method))
    assert all(len(d) == 0 for d in run(model, adaptive_clips(model, 1, 3)))


@EVERY
def test_another_video_another_size_and_training_mode_are_refused(method):
    model = tiny_model(method)
    state = model.init_state(video_id=1)
    model.step(lone_clip(model, 1, video_frames(1, 2), 0), state)
    with pytest.raises(ValueError, match=r'init_state\(video_id=2\)'):
        model.step(lone_clip(model, 2, video_frames(2, 2), 0), state)
    other = lone_clip(model, 1, video_frames(1, 2, (64, 64)), 1)
    kept = [getattr(model, part, None) for part in ('regions', 'pixel_memory')]
    if any(part is not None for part in kept):
        with pytest.raises(ValueError, match='resolution'):
            model.step(other, state)
    else:  # no map or region is kept
        assert len(model.step(other, state)[0])
    with pytest.raises(RuntimeError, match=r'training mode. Call model.eval\(\)'):
        model.train().step(other, model.init_state(video_id=1))


def test_randomness_depends_on_the_seed_and_the_video_alone():
    def drawn(video: int, seed: int) -> float:
        state = tiny_model('faster_rcnn').init_state(video_id=video, seed=seed)
        return torch.rand((), generator=state.generator).item()

    first = drawn(3, 0)
    torch.manual_seed(99)
    assert drawn(3, 0) == first
    assert len({first, drawn(3, 1), drawn(4, 0), drawn(2**40, 0)}) == 4


@WITH_REFS
@pytest.mark.parametrize('mode', ['train', 'offline', 'causal'])
def test_plans_go_to_worker_processes(method, mode):
    """As the data set that holds them does where workers are not forked."""
    given = dict(ADAPTIVE, method='bilateral_uniform') if mode == 'train' else ADAPTIVE
    plan = plan_of(tiny_model(method), mode, given)
    refs, again = (
        p and [p(key, 40, np.random.default_rng(0)) for key in (0, 10)]
        for p in (plan, pickle.loads(pickle.dumps(plan)))
    )
    assert refs == again and (refs is not None or mode == 'causal')


@pytest.mark.parametrize(
    ('method', 'sampler'), [*[(m, ADAPTIVE) for m in [*DETECTORS, *METHODS]], ('selsa', WINDOW)]
)
def test_nothing_waits_between_a_later_frame_and_its_results(method, sampler, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model = tiny_model(method)
    state = model.init_state(video_id=1)
    for t, clip in enumerate(planned_clips(model, 1, 4, sampler)):
        (batch,) = model.data_preprocessor([clip])['batches']
        with torch.inference_mode(), CountHostWaits() as waits:
            found = model.detect_batch(batch, [state])
        assert t < 2 or waits.total == 0, waits.waits
        assert found.valid.any()


# ---- training


@EVERY
def test_nothing_waits_in_a_training_step(method, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model = tiny_model(method).train()
    batch = training_batch(model, training_clips(model, 2))
    model.loss(batch)
    with CountHostWaits() as waits:
        losses = model.loss(batch)
    # where clips have references, the numbers of their images are copied to the GPU
    copies = 0 if method in DETECTORS else waits.waits['lift_fresh']
    assert waits.total == copies, waits.waits
    assert all(value.isfinite() for value in losses.values())


@EVERY
def test_loss_of_two_clips_is_the_mean_of_both(method):
    """The second one is of another size, which makes a batch of its own."""
    model = training_model(method)
    (a, b), (c,) = training_clips(model, 2), training_clips(model, 1, size=(80, 64))
    first, *others = (losses_of(model, [clip]) for clip in (a, b, c))
    for other, clip in zip(others, (b, c), strict=True):
        both = losses_of(model, [a, clip])
        for name in LOSSES:
            mean = (first[name] + other[name]) / 2
            torch.testing.assert_close(both[name], mean, rtol=1e-4, atol=1e-6)
        assert all(first[name] != other[name] for name in ('loss_rpn_cls', 'loss_cls'))


@EVERY
def test_every_parameter_has_a_gradient_also_without_proposals_of_references(method):
    """All ranks of a training must have one for all."""
    model = without_proposals(tiny_model(method).train())
    loss = total(losses_of(model, training_clips(model, 2)))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert loss.isfinite()


@WITH_REFS
def test_an_image_packed_once_trains_as_its_copies_do(method):
    """A clip of an image set: every reference is the key frame."""
    model, results = training_model(method), []
    copies = training_clips(model, 2)
    for clip in copies:
        clip.images = clip.images[[0] * len(clip.frames)]
        for frame in clip.refs:
            frame.frame_id = clip.key.frame_id
    once = [packed_once(clip) for clip in copies]
    assert [len(clip.images) for clip in once] == [1, 1] and len(copies[0].images) >= 3
    for clips in (copies, once):
        model.zero_grad()
        losses = losses_of(model, clips)
        total(losses).backward()
        grads = [p.grad.clone() for p in model.parameters() if p.requires_grad]
        results.append(([losses[name] for name in LOSSES], grads))
    (losses, grads), (losses_once, grads_once) = results
    torch.testing.assert_close(losses_once, losses, rtol=1e-5, atol=1e-7)
    for a, b in zip(grads, grads_once, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * a.abs().max().item() + 1e-6)


@pytest.mark.parametrize('method', ['selsa', 'stpn'])
def test_training_needs_references(method):
    model = tiny_model(method).train()
    (clip,) = training_clips(model, 1)
    clip.frames, clip.images = clip.frames[:1], clip.images[:1]
    with pytest.raises(ValueError, match='ref_img_sampler'):
        losses_of(model, [clip])
    clips = [training_clips(model, 1, num_refs=number)[0] for number in (2, 4)]
    with pytest.raises(ValueError, match=r'one length, got \[3, 5\] frames'):
        losses_of(model, clips)
