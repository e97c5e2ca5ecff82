"""Long videos: the resident memory of the process does not grow with their length."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_streams import scenes, tiny_detector, write_video

from mmdet.structures import Detections


def growth_mb(detector, source, total: int, settled: int) -> float:
    """Growth of the resident memory from frame `settled` to the end."""
    pages = []
    for done, _ in enumerate(detector.stream(source), 1):
        if done in (settled, total):
            with open('/proc/self/statm') as file:
                pages.append(int(file.read().split()[1]))
    assert done == total
    return (pages[1] - pages[0]) * os.sysconf('SC_PAGE_SIZE') / 2**20


def noise(count: int):
    """Fresh frames of 27 kB: kept, 3,000 of them would be 80 MB."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 256, (96, 96, 3), np.uint8)


def test_memory_is_flat_over_4000_frames(tmp_path):
    """Of everything but the model, which has bounds of its own (tested below)."""
    detector = tiny_detector('faster_rcnn')
    empty = SimpleNamespace(get=lambda: [Detections()])
    detector.model.start = lambda clips, states: empty
    assert growth_mb(detector, noise(4_000), 4_000, 1000) < 40
    path = write_video(tmp_path / 'long.mp4', scenes(40) * 25, options={'g': '50'})
    assert growth_mb(detector, path, 1000, 100) < 40


SMALL = {'model.detector.test_cfg.rpn': dict(nms_pre=30, max_per_img=5)}
FULL_SOON = {
    'model.detector.roi_head.bbox_head.aggregator.memory_cfg': dict(max_length=300, key_length=50)
}


@pytest.mark.slow
@pytest.mark.parametrize(('method', 'changes'), [('selsa', SMALL), ('mamba', SMALL | FULL_SOON)])
def test_memory_of_models_is_flat(method, changes):
    """A window is full after 140 frames, the memory after 60; the frames alone would be 54 MB."""
    assert growth_mb(tiny_detector(method, **changes), noise(3000), 3000, 1000) < 40
