"""MAMBA at both levels: what is remembered.

What it detects is compared with 1.x in test_golden.py and test_rendered_parity.py; what holds for
every video method is in test_video_methods.py.
"""

import pytest
import torch
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

INSTANCES = 'detector.roi_head.bbox_head.aggregator.memory_cfg'


def test_seed_decides_what_a_full_memory_reads():
    model = tiny_model('both', {INSTANCES: dict(max_length=200, key_length=40)})
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
