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


def test_memory_is_flat_over_a_long_file(tmp_path):
    """Of everything but the model, which has bounds of its own (tested below)."""
    detector = tiny_detector('faster_rcnn')
    empty = SimpleNamespace(get=lambda: [Detections()])
    detector.model.start = lambda clips, states: empty
    path = write_video(tmp_path / 'long.mp4', scenes(40) * 25, options={'g': '50'})
    assert growth_mb(detector, path, 1000, 100) < 40


@pytest.mark.slow
def test_memory_of_a_model_with_a_memory_is_flat():
    """The memory is full after 60 frames; 300 frames are 144 MB."""
    head = 'model.detector.roi_head.bbox_head.aggregator.memory_cfg'
    changes = {head: dict(max_length=300, key_length=50)}
    changes['model.detector.test_cfg.rpn'] = dict(nms_pre=30, max_per_img=5)
    rng = np.random.default_rng(0)
    frames = (rng.integers(0, 256, (400, 400, 3), np.uint8) for _ in range(400))
    assert growth_mb(tiny_detector('mamba', **changes), frames, 400, 100) < 40
