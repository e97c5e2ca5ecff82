"""Long videos: the resident memory of the process does not grow with their length."""

import os

import numpy as np
import pytest
from tiny_streams import tiny_detector


@pytest.mark.slow
def test_memory_is_flat_over_a_long_video():
    """The memory of the model is full after 60 frames; 300 frames are 144 MB."""
    head = 'model.detector.roi_head.bbox_head.aggregator.memory_cfg'
    changes = {head: dict(max_length=300, key_length=50)}
    changes['model.detector.test_cfg.rpn'] = dict(nms_pre=30, max_per_img=5)
    rng, resident = np.random.default_rng(0), []
    frames = (rng.integers(0, 256, (400, 400, 3), np.uint8) for _ in range(400))
    for _ in tiny_detector('mamba', **changes).stream(frames):
        with open('/proc/self/statm') as file:
            resident.append(int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20)
    assert len(resident) == 400 and resident[-1] - resident[100] < 40
