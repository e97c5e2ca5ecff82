"""SELSA: cached references and sliding windows against a literal implementation.

What holds for every video method is in test_video_methods.py.
"""

import pytest
import torch
from literal_parts import assert_close, detections_of, image_of, regions_of
from naive_stpn_selsa import classify
from tiny_video_models import (
    adaptive_clips,
    clip_of_frames,
    packed_once,
    planned_clips,
    run,
    tiny_model,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.structures import Clip, Detections


@torch.inference_mode()
def literal_selsa(model, clips: list[Clip], refs: list[list[int]]) -> list[Detections]:
    """Everything recomputed at every frame, references first, then the key frame itself.

    Args:
        clips: those of the whole video, of which the key frames are taken.
        refs: frame ids of the references of each of them.
    """
    detector, head = model.detector, model.detector.roi_head.bbox_head

    def regions(clip):
        image, shape = image_of(model, clip)
        return *regions_of(detector, detector.feats(detector.encode(image)), shape), shape

    found = []
    for clip, ids in zip(clips, refs, strict=True):
        boxes, own, shape = regions(clip)
        seen = torch.cat([*(regions(clips[i])[1] for i in ids), own])
        found.append(detections_of(detector, *classify(head, own, seen), boxes, shape, clip.key))
    return found


@pytest.fixture
def computed(monkeypatch):
    """Numbers of images that each pass of the backbone computes."""

    def of(model) -> list[int]:
        counts, encode = [], model.detector.encode
        monkeypatch.setattr(
            model.detector, 'encode', lambda x, **kw: counts.append(len(x)) or encode(x, **kw)
        )
        return counts

    return of


@pytest.mark.parametrize('length', [1, 2, 20])
def test_cached_references_equal_recomputing_them(length):
    model = tiny_model('selsa')
    clips = adaptive_clips(model, 1, length)
    refs = [[frame.frame_id for frame in clips[0].refs]] * length
    assert_close(run(model, clips), literal_selsa(model, clips, refs))


def test_references_are_computed_once_per_video(computed):
    model = tiny_model('selsa')
    counts, clips = computed(model), adaptive_clips(model, 1, 20)
    assert len({frame.frame_id for frame in clips[0].refs}) == 14
    run(model, clips)
    assert counts[0] == 1 and sum(counts) == 14 + 20 and counts[-19:] == [1] * 19


def window_of(key: int, held: list[int], new: list[int], before: int, stride: int) -> list[int]:
    """Frames of a literal window: a list whose slot number `before` is the key frame.

    Every `stride` frames it moves by one and the key frame is in it; between, the key frame
    replaces what the slot holds.
    """
    if key == 0:
        return new
    if key % stride == 0:
        return [*held[1:], *new]
    return [*held[:before], key, *held[before + 1 :]]


@pytest.mark.parametrize(
    ('low', 'high', 'stride', 'length'),
    [(-3, 3, 1, 12), (-2, 2, 3, 14), (-1, 3, 2, 9), (-3, 0, 2, 9)],
)
def test_a_window_with_gaps_equals_a_literal_one(low, high, stride, length):
    model = tiny_model('selsa')
    sampler = dict(
        frame_range=[low, high], num_ref_imgs=high - low, stride=stride,
        method='test_with_fix_stride',
    )  # fmt: skip
    clips, held, refs = planned_clips(model, 1, length, sampler), [], []
    for key, clip in enumerate(clips):
        assert {frame.role for frame in clip.refs} <= {'window'}
        held = window_of(key, held, [frame.frame_id for frame in clip.refs], -low, stride)
        assert held[-low] == key and len(held) == high - low + 1
        refs.append([*held[:-low], *held[-low + 1 :]])
        if stride == 1:
            around = [min(max(key + d, 0), length - 1) for d in range(low, high + 1)]
            assert held == around
    assert_close(run(model, clips), literal_selsa(model, clips, refs))


def test_a_sliding_window_computes_every_frame_once(computed):
    model, length = tiny_model('selsa'), 12
    counts = computed(model)
    sampler = dict(frame_range=[-3, 3], num_ref_imgs=6, method='test_with_fix_stride')
    clips = planned_clips(model, 1, length, sampler)[: length - 3]  # then the last one comes again
    run(model, [packed_once(clip) for clip in clips])
    assert sum(counts) == length  # the first frame is in the first window four times


def test_a_window_cannot_start_in_the_middle():
    model = tiny_model('selsa')
    frames = video_frames(1, 8)
    clip = clip_of_frames(1, frames, [5, 7, 8 - 1], ['window'] * 2)
    with pytest.raises(ConfigError, match='starts at frame 5 without the frames of its window'):
        model.step(clip, model.init_state(video_id=1))


def test_a_window_of_the_past_follows_the_config():
    model = tiny_model('selsa')
    window = dict(method='test_with_fix_stride', num_ref_imgs=6, frame_range=[-3, 3], stride=2)
    for given, reach, stride in ((window, 6, 2), (None, 14, 10)):
        plan = model.plan('causal', given)
        assert (plan.low, plan.high, plan.stride) == (-reach, 0, stride)
        assert plan.in_order and plan.lookahead == 0
    assert model.plan('offline', window).lookahead == 6
