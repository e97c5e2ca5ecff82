"""MAMBA at both levels, and what holds for every video method."""

import os
from pathlib import Path

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

from mmdet.registry import MODELS

METHODS = ['selsa', 'mamba', 'pixel', 'both', 'stpn', 'stpn_selsa']


class LiteralMamba:
    """The instance level as 1.x has it: raw rows in plain lists, everything read (few rows)."""

    def __init__(self, model) -> None:
        self.model, self.head = model, model.detector.roi_head.bbox_head

    def regions(self, clip, i):
        images = self.model.data_preprocessor([clip])['batches'][0].images[0, i : i + 1]
        feats = self.model.detector.extract_feat(images)
        (proposals,) = self.model.detector.propose(feats, [clip.frames[i].img_shape])
        rois = torch.cat([proposals.new_zeros(len(proposals), 1), proposals[:, :4]], dim=1)
        roi_feats = self.model.detector.roi_head.bbox_roi_extractor(feats, rois)
        return proposals, roi_feats.flatten(1)

    def step(self, clip):
        proposals, x = self.regions(clip, 0)
        layers = list(zip(self.head.shared_fcs, self.head.aggregator, strict=True))
        if clip.refs:
            refs = [self.regions(clip, i)[1][:20] for i in range(1, len(clip.frames))]
            r = torch.cat([*refs, x[:20]])
            self.memory = []
            for fc, aggregator in layers:
                x, r = fc(x), fc(r)
                self.memory.append(r)
                x, r = F.relu(x + aggregator(x, r)), F.relu(r)
        else:
            for i, (fc, aggregator) in enumerate(layers):
                x = fc(x)
                x = x + aggregator(x, self.memory[i])
                self.memory[i] = torch.cat([self.memory[i], x[:20]])
                x = F.relu(x)
        roi_head = self.model.detector.roi_head
        logits, deltas = self.head.fc_cls(x), self.head.fc_reg(x)
        return roi_head.detections(logits, deltas, proposals, clip.key)


@torch.inference_mode()
def test_memory_that_is_never_sampled_equals_1x():
    model = tiny_model('mamba')
    clips, literal = adaptive_clips(1, 12), LiteralMamba(model)
    for clip, found in zip(clips, run(model, clips), strict=True):
        expected = literal.step(clip)
        assert len(found) == len(expected) > 0
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-2, rtol=0)


@pytest.mark.parametrize('method', METHODS)
def test_interleaved_videos_equal_each_alone(method):
    model = tiny_model(method)
    videos = {video: adaptive_clips(video, 6) for video in (1, 2)}
    alone = {video: run(model, clips) for video, clips in videos.items()}
    states = {video: model.init_state(video_id=video) for video in videos}
    for i in range(6):
        for video, clips in videos.items():
            found, _ = model.step(clips[i], states[video])
            assert_same(found, alone[video][i])


@pytest.mark.parametrize('method', METHODS)
def test_what_ran_before_does_not_matter(method):
    model = tiny_model(method)
    clips = adaptive_clips(3, 8)
    first = run(model, clips)
    run(model, adaptive_clips(1, 4))
    torch.rand(7)
    for a, b in zip(first, run(model, clips), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize('method', ['mamba', 'both'])
def test_seed_decides_what_a_full_memory_reads(method):
    memory = dict(max_length=200, key_length=40)
    cfg = tiny_config(method)
    cfg.detector.roi_head.bbox_head.aggregator.memory_cfg = memory
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    clips = adaptive_clips(1, 6)
    same = [run(model, clips, seed=s)[-1].scores for s in (1, 1, 2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('length', [1, 2])
def test_shortest_videos(method, length):
    found = run(tiny_model(method), adaptive_clips(1, length))
    assert [d.image_id for d in found] == [1000 + i for i in range(length)]
    assert all(d.scores.isfinite().all() for d in found)


@pytest.mark.parametrize('method', METHODS)
def test_a_stream_that_starts_in_the_middle_without_references(method):
    frames = video_frames(1, 8)
    found = run(tiny_model(method), [clip_of_frames(1, frames, [i]) for i in range(5, 8)])
    assert all(len(d) and d.scores.isfinite().all() for d in found)


@pytest.mark.parametrize('method', METHODS)
def test_frames_without_proposals(method):
    model = tiny_model(method)
    model.detector.test_proposals = dict(model.detector.test_proposals, min_bbox_size=1e6)
    assert all(len(d) == 0 for d in run(model, adaptive_clips(1, 3)))


@pytest.mark.parametrize('method', METHODS)
def test_other_video_and_other_size_are_refused(method):
    model = tiny_model(method)
    state = model.init_state(video_id=1)
    model.step(clip_of_frames(1, video_frames(1, 2), [0]), state)
    with pytest.raises(ValueError, match=r'init_state\(video_id=2\)'):
        model.step(clip_of_frames(2, video_frames(2, 2), [0]), state)
    if model.together:  # no map is kept, so sizes may change
        return
    with pytest.raises(ValueError, match='resolution'):
        model.step(clip_of_frames(1, video_frames(1, 2, (64, 64)), [1]), state)


def test_sliding_windows_are_refused():
    model = tiny_model('mamba')
    clip = clip_of_frames(1, video_frames(1, 2), [0, 0, 1], num_left_refs=1, frame_stride=1)
    with pytest.raises(ValueError, match='test_with_adaptive_stride'):
        model.step(clip, model.init_state(video_id=1))


def test_a_model_without_any_memory_is_refused():
    cfg = tiny_config('pixel')
    cfg.pop('pixel_memory')
    with pytest.raises(ValueError, match='neither level'):
        MODELS.build(cfg)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('other_size', [False, True])
def test_loss_of_two_clips_is_the_mean_of_both(method, other_size):
    cfg = tiny_config(method)
    for stage in ('rpn', 'rcnn'):
        cfg.detector.train_cfg[stage].sampler.num = 10**6
    if method in ('pixel', 'both'):
        cfg.pixel_memory.train_cells = 10**6
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    a, b = training_clips(2)
    if other_size:
        b = training_clips(1, size=(80, 64))[0]

    def loss(*clips):
        return model(**model.data_preprocessor(list(clips), training=True))

    single, pair = [loss(a), loss(b)], loss(a, b)
    for name in ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'):
        mean = (single[0][name] + single[1][name]) / 2
        torch.testing.assert_close(pair[name], mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('method', METHODS)
def test_every_parameter_learns(method):
    model = tiny_model(method).train()
    losses = model(**model.data_preprocessor(training_clips(2), training=True))
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_pixels_are_remembered_inside_detections():
    model = tiny_model('pixel')
    clips = adaptive_clips(1, 1)
    state = model.init_state(video_id=1)
    found, _ = model.step(clips[0], state)
    memory, pixels = model.pixel_memory, state.pixels
    frame, width = clips[0].key, 8
    found.scores[:] = 0.9
    found.boxes[:] = torch.tensor([8.0, 16.0, 23.0, 31.0])  # cells 1..2 x 2..3
    cells = memory._cells_of(found, frame, width, pixels.generator)
    assert cells.tolist() == [2 * width + 1, 2 * width + 2, 3 * width + 1, 3 * width + 2]
    found.scores[:] = 0.1
    assert len(memory._cells_of(found, frame, width, pixels.generator)) == 0


def test_bf16_keeps_boxes_and_scores_in_float32():
    model = tiny_model('both')
    clips = adaptive_clips(1, 4)
    exact = run(model, clips)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = run(model, clips)
    for a, b in zip(exact, half, strict=True):
        assert b.boxes.dtype == b.scores.dtype == torch.float32
        assert (a.scores[:5] - b.scores[:5]).abs().max() < 0.05


@pytest.mark.slow
def test_ten_thousand_frames_in_flat_memory():
    """Both memories are full after 100 frames; from there nothing may grow."""
    small = dict(max_length=300, key_length=50)
    cfg = tiny_config('both')
    cfg.detector.test_cfg.rpn.update(nms_pre=30, max_per_img=5)
    cfg.detector.roi_head.bbox_head.update(topk=5)
    cfg.detector.roi_head.bbox_head.aggregator.memory_cfg = small
    cfg.pixel_memory.memory_cfg = small
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    state, frames = model.init_state(video_id=1), video_frames(1, 4, (16, 16))
    resident = {}
    for i in range(10_000):
        clip = clip_of_frames(1, frames, [i % 4])
        clip.key.frame_id = i
        model.step(clip, state)
        if i in (1_000, 9_999):
            banks = [*state.instances, state.pixels]
            assert [len(bank) for bank in banks] == [300, 300, 300]
            resident[i] = resident_megabytes()
    assert resident[9_999] < resident[1_000] + 20


def resident_megabytes() -> float:
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20
