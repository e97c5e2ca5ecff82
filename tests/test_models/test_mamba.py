"""MAMBA at both levels. What holds for every video method is in test_video_methods.py."""

import pytest
import torch
import torch.nn.functional as F
from literal_parts import assert_close, detections_of, image_of, regions_of
from naive_stpn_selsa import heads
from tiny_video_models import (
    adaptive_clips,
    clip_of_frames,
    run,
    tiny_config,
    tiny_model,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.models.detections import BatchDetections
from mmdet.models.vid.frame_flow import PIXELS, REGIONS
from mmdet.registry import MODELS


class LiteralMamba:
    """The instance level as 1.x has it: raw rows in plain lists, everything read (few rows)."""

    def __init__(self, model) -> None:
        self.model, self.detector = model, model.detector
        self.head = model.detector.roi_head.bbox_head

    def regions(self, clip, place):
        image, shape = image_of(self.model, clip, place)
        return regions_of(self.detector, self.detector.feats(self.detector.encode(image)), shape)

    def step(self, clip):
        boxes, x = self.regions(clip, 0)
        layers = list(zip(self.head.shared_fcs, self.head.aggregator, strict=True))
        if clip.refs:
            refs = [self.regions(clip, i)[1][:10] for i in range(1, len(clip.frames))]
            r = torch.cat([*refs, x[:10]])
            self.memory = []
            for fc, agg in layers:
                x, r = fc(x), fc(r)
                self.memory.append(r)
                x, r = F.relu(x + taken(agg, x, r)), F.relu(r)
        else:
            for i, (fc, agg) in enumerate(layers):
                x = fc(x)
                x = x + taken(agg, x, self.memory[i])
                self.memory[i] = torch.cat([self.memory[i], x[:10]])
                x = F.relu(x)
        logits, deltas = self.head.fc_cls(x), self.head.fc_reg(x)
        shape = image_of(self.model, clip)[1]
        return detections_of(self.detector, logits, deltas, boxes, shape, clip.key)


def taken(agg, x, r):
    return agg.fc(heads(agg.fc_embed(x), agg.ref_fc_embed(r), agg.ref_fc(r), agg.heads))


@torch.inference_mode()
def test_memory_that_is_never_sampled_equals_1x():
    model = tiny_model('mamba')
    clips = adaptive_clips(model, 1, 12)
    literal = LiteralMamba(model)
    assert_close(run(model, clips), [literal.step(clip) for clip in clips])


@pytest.mark.parametrize('method', ['mamba', 'both'])
def test_seed_decides_what_a_full_memory_reads(method):
    memory = dict(max_length=200, key_length=40)
    cfg = tiny_config(method)
    cfg.detector.roi_head.bbox_head.aggregator.memory_cfg = memory
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    clips = adaptive_clips(model, 1, 6)
    same = [run(model, clips, seed=s)[-1].scores for s in (1, 1, 2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


@pytest.mark.parametrize('method', ['mamba', 'both', 'stpn', 'pixel'])
def test_sliding_windows_are_refused(method):
    model = tiny_model(method)
    window = dict(frame_range=[-1, 1], num_ref_imgs=2, method='test_with_fix_stride')
    with pytest.raises(ConfigError, match='test_with_adaptive_stride'):
        model.plan('offline', window)
    assert model.plan('causal', window) is None
    clip = clip_of_frames(1, video_frames(1, 2), [0, 0, 1], ['window'] * 2)
    if method in ('mamba', 'stpn'):
        with pytest.raises(ConfigError, match='keeps no window of frames'):
            model.step(clip, model.init_state(video_id=1))


def test_pixels_are_remembered_inside_detections():
    memory, size = tiny_model('pixel').pixel_memory, (6, 8)  # cells of 8 pixels
    maps = torch.randn(2, 32, *size, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[8.0, 16.0, 23.0, 31.0], [30.0, 0.0, 40.0, 50.0]])  # cells 1..2 x 2..3
    found = BatchDetections(
        boxes.expand(2, 2, 4),
        torch.tensor([[0.9, 0.9], [0.1, 0.9]]),
        torch.zeros(2, 2, dtype=torch.long),
        torch.tensor([[True, False], [True, False]]),
    )
    shapes = torch.tensor([[48.0, 64.0]] * 2)

    def chosen(frame):
        draws = torch.rand(2, 2, 48), torch.rand(2, 48)
        cells, valid = memory.choose(found, maps, shapes, *draws)
        return sorted(cells[frame][valid[frame]].tolist())

    width = size[1]
    assert chosen(0) == [2 * width + 1, 2 * width + 2, 3 * width + 1, 3 * width + 2]
    memory.fallback_cells = 5  # of the largest norm, where no detection is sure
    norms = maps[1].flatten(1).norm(dim=0)
    assert chosen(1) == sorted(norms.argsort(descending=True)[:5].tolist())
    memory.cells_per_box = 3
    kept = {tuple(chosen(0)) for _ in range(60)}
    assert len(kept) == 4 and {len(cells) for cells in kept} == {3}
    memory.cells_per_box, memory.cells_per_frame = 100, 2
    assert {len(chosen(0)) for _ in range(5)} == {2}


@torch.inference_mode()
def test_the_first_frame_reads_what_plain_detections_left():
    """The pixel level written out: references and frame without memory, then with their cells."""
    model = tiny_model('pixel')
    clip = adaptive_clips(model, 1, 6, num_refs=3)[0]
    memory, detector = model.pixel_memory, model.detector
    keys = []
    for place in (1, 2, 3, 0):
        image, shape = image_of(model, clip, place)
        maps = detector.encode(image)
        found = detector.detect(detector.feats(maps), shape)
        boxes = found.boxes[found.valid & (found.scores > 0.3)]
        cells = maps[0][0].flatten(1).T
        inside = [
            i for i in range(48)
            if any(b[0] <= i % 8 * 8 + 4 <= b[2] and b[1] <= i // 8 * 8 + 4 <= b[3] for b in boxes)
        ]  # fmt: skip
        order = cells.norm(dim=1).argsort(descending=True)
        keys.append(cells[inside] if inside else cells[order[:50]])
    r = torch.cat(keys)
    enhanced = (cells + taken(memory.aggregator, cells, r)).T.reshape(maps[0].shape)
    feats = detector.feats((enhanced,))
    boxes, rows = regions_of(detector, feats, shape)
    head = detector.roi_head.bbox_head
    for fc in head.shared_fcs:
        rows = F.relu(fc(rows))
    out = detections_of(detector, head.fc_cls(rows), head.fc_reg(rows), boxes, shape, clip.key)
    assert_close(run(model, [clip]), [out])


def test_both_memories_are_bounded():
    """They are full after 100 frames; tests/test_apis/test_video_memory.py runs thousands."""
    small = dict(max_length=300, key_length=50)
    cfg = tiny_config('both')
    cfg.detector.roi_head.bbox_head.aggregator.memory_cfg = small
    cfg.pixel_memory.memory_cfg = small
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    state, frames = model.init_state(video_id=1), video_frames(1, 4, (16, 16))
    shapes = []
    for i in range(130):
        clip = clip_of_frames(1, frames, [i % 4])
        clip.key.frame_id = i
        model.step(clip, state)
        banks = [state.contexts[REGIONS].bank, state.contexts[PIXELS]]
        shapes.append([bank.rows.shape[:2] for bank in banks])
    assert shapes[100:] == [[(2, 300), (1, 300)]] * 30
