"""MAMBA at both levels. What holds for every video method is in test_video_methods.py."""

import pytest
import torch
import torch.nn.functional as F
from literal_parts import assert_close, detections_of, image_of, regions_of
from naive_video import plain, regions, taken
from tiny_video_models import (
    WINDOW,
    adaptive_clips,
    clip_of_frames,
    run,
    tiny_model,
    video_frames,
)

from mmdet.core.errors import ConfigError
from mmdet.models.detections import BatchDetections
from mmdet.models.vid.frame_flow import PIXELS, REGIONS

INSTANCES, CELLS = 'detector.roi_head.bbox_head.aggregator.memory_cfg', 'pixel_memory.memory_cfg'


@torch.inference_mode()
def test_an_instance_memory_that_is_never_sampled_equals_1x():
    """Literally: raw features in plain lists, all of them read."""
    model, memory, expected = tiny_model('mamba'), [], []
    head, clips = model.bbox_head, adaptive_clips(model, 1, 12)
    for clip in clips:
        boxes, x, shape = regions(model, clip)
        places = range(1, len(clip.frames))
        r = torch.cat([*(regions(model, clip, i)[1][:10] for i in places), x[:10]])
        for i, (fc, agg) in enumerate(zip(head.shared_fcs, head.aggregator, strict=True)):
            x, r = fc(x), fc(r)
            if clip.refs:  # the first frame
                memory.append(r)
            x = x + taken(agg, x, memory[i])
            if not clip.refs:
                memory[i] = torch.cat([memory[i], x[:10]])
            x, r = F.relu(x), F.relu(r)
        outputs = head.fc_cls(x), head.fc_reg(x)
        expected.append(detections_of(model.detector, *outputs, boxes, shape, clip.key))
    assert_close(run(model, clips), expected)


@pytest.mark.parametrize('method', ['mamba', 'both'])
def test_seed_decides_what_a_full_memory_reads(method):
    model = tiny_model(method, {INSTANCES: dict(max_length=200, key_length=40)})
    clips = adaptive_clips(model, 1, 6)
    a, again, b = (run(model, clips, seed=s)[-1].scores for s in (1, 1, 2))
    assert torch.equal(a, again) and not torch.equal(a, b)


@pytest.mark.parametrize('method', ['mamba', 'both', 'stpn', 'pixel'])
def test_sliding_windows_are_refused(method):
    model = tiny_model(method)
    with pytest.raises(ConfigError, match='test_with_adaptive_stride'):
        model.plan('offline', WINDOW)
    assert model.plan('causal', WINDOW) is None
    clip = clip_of_frames(1, video_frames(1, 2), [0, 0, 1], ['window'] * 2)
    if method in ('mamba', 'stpn'):
        with pytest.raises(ConfigError, match='keeps no window of frames'):
            model.step(clip, model.init_state(video_id=1))


def test_pixels_are_remembered_inside_detections():
    memory, width = tiny_model('pixel').pixel_memory, 8  # cells of 8 pixels
    maps = torch.randn(2, 32, 6, width, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[8.0, 16.0, 23.0, 31.0], [30.0, 0.0, 40.0, 50.0]])  # cells 1..2 x 2..3
    scores, valid = torch.tensor([[0.9, 0.9], [0.1, 0.9]]), torch.tensor([[True, False]] * 2)
    found = BatchDetections(boxes.expand(2, 2, 4), scores, torch.zeros(2, 2).long(), valid)
    shapes = torch.tensor([[48.0, 64.0]] * 2)

    def chosen(frame: int) -> list[int]:
        cells, valid = memory.choose(found, maps, shapes, torch.rand(2, 2, 48), torch.rand(2, 48))
        return sorted(cells[frame][valid[frame]].tolist())

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
def test_the_first_frame_reads_the_pixels_that_plain_detections_left():
    """Literally: references and frame without memory, then with their cells."""
    model = tiny_model('pixel')
    clip, keys = adaptive_clips(model, 1, 6, num_refs=3)[0], []
    memory, detector = model.pixel_memory, model.detector
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
    cells = cells + taken(memory.aggregator, cells, torch.cat(keys))
    boxes, own = regions_of(detector, detector.feats((cells.T.reshape(maps[0].shape),)), shape)
    expected = detections_of(detector, *plain(model.bbox_head, own), boxes, shape, clip.key)
    assert_close(run(model, [clip]), [expected])


def test_both_memories_are_bounded():
    """They are full after 100 frames; tests/test_apis/test_video_memory.py runs thousands."""
    small = dict(max_length=300, key_length=50)
    model = tiny_model('both', {INSTANCES: small, CELLS: small})
    state, frames, shapes = model.init_state(video_id=1), video_frames(1, 4, (16, 16)), []
    for i in range(130):
        model.step(clip_of_frames(1, frames, [i % 4]), state)
        banks = [state.contexts[REGIONS].bank, state.contexts[PIXELS]]
        shapes.append([bank.rows.shape[:2] for bank in banks])
    assert shapes[100:] == [[(2, 300), (1, 300)]] * 30
