"""SELSA: cached references and sliding windows against a literal implementation.

What holds for every video method is in test_video_methods.py.
"""

import pytest
import torch
from literal_parts import assert_close, detections_of
from naive_video import classify, regions
from tiny_video_models import (
    WINDOW,
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
def literal(model, clips: list[Clip], refs: list[list[int]]) -> list[Detections]:
    """Detections on the key frame of each clip, which sees `refs` of them and then itself."""
    frames, found = [regions(model, clip) for clip in clips], []
    for clip, (boxes, own, shape), ids in zip(clips, frames, refs, strict=True):
        seen = torch.cat([*(frames[i][1] for i in ids), own])
        outputs = classify(model.bbox_head, own, seen)
        found.append(detections_of(model.detector, *outputs, boxes, shape, clip.key))
    return found


def counted(model, clips: list[Clip], monkeypatch) -> tuple[list[Detections], list[int]]:
    """What is found on a video, and the number of images in each pass of the backbone."""
    counts, encode = [], model.detector.encode
    counting = lambda x, **kw: counts.append(len(x)) or encode(x, **kw)  # noqa: E731
    monkeypatch.setattr(model.detector, 'encode', counting)
    found = run(model, clips)
    monkeypatch.setattr(model.detector, 'encode', encode)
    return found, counts


@pytest.mark.parametrize('length', [1, 16])
def test_references_computed_once_per_video_equal_recomputing_them(length, monkeypatch):
    model = tiny_model('selsa')
    clips = adaptive_clips(model, 1, length)
    refs = [frame.frame_id for frame in clips[0].refs]
    found, counts = counted(model, [packed_once(clip) for clip in clips], monkeypatch)
    assert_close(found, literal(model, clips, [refs] * length))
    assert len(set(refs)) == min(14, length) == sum(counts) - length


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
    [(-3, 3, 1, 9), (-1, 3, 2, 9), (-3, 0, 2, 9)],
)
def test_a_window_with_gaps_equals_a_literal_one(low, high, stride, length, monkeypatch):
    model, held, refs = tiny_model('selsa'), [], []
    sampler = dict(WINDOW, frame_range=[low, high], num_ref_imgs=high - low, stride=stride)
    clips = planned_clips(model, 1, length, sampler)
    for key, clip in enumerate(clips):
        assert {frame.role for frame in clip.refs} <= {'window'}
        held = window_of(key, held, [frame.frame_id for frame in clip.refs], -low, stride)
        assert held[-low] == key and len(held) == high - low + 1
        refs.append([*held[:-low], *held[-low + 1 :]])
        if stride == 1:
            around = [min(max(key + d, 0), length - 1) for d in range(low, high + 1)]
            assert held == around
    found, counts = counted(model, [packed_once(clip) for clip in clips], monkeypatch)
    assert_close(found, literal(model, clips, refs))
    if stride == 1:  # each frame once; the last one comes again
        assert sum(counts) == length + high


def test_a_window_cannot_start_in_the_middle():
    model = tiny_model('selsa')
    clip = clip_of_frames(1, video_frames(1, 8), [5, 7, 7], ['window'] * 2)
    with pytest.raises(ConfigError, match='starts at frame 5 without the frames of its window'):
        model.step(clip, model.init_state(video_id=1))
