"""AP50 of the VID protocol against the original's numbers and against literal loops."""

import json
import zlib

import numpy as np
import pytest
from eval_files import truth_of

from mmdet.datasets.motion import motion_from_mat
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation import vid_matching
from mmdet.evaluation.ground_truth import ground_truth
from mmdet.evaluation.results import DetectionArrays, from_lists
from mmdet.evaluation.vid_ap import vid_ap
from mmdet.evaluation.vid_matching import descending
from mmdet.programs.benchmark.literal_vid import RANGES, literal_vid_ap


def rows(*detections):
    return np.array(detections, np.float32).reshape(-1, 5)


def test_golden_detections(shared, tmp_path):
    folder = shared / 'golden' / 'eval'
    index = CocoVideoIndex.open(folder / 'annotations.json', tmp_path)
    truth = ground_truth(index, motion=motion_from_mat(folder / 'motion_iou.mat', index))
    z = np.load(folder / 'detections.npz')
    found = vid_ap(DetectionArrays.from_rows(z['frame'], z['label'], z['boxes']), truth)
    expected = json.loads((folder / 'expected.json').read_text())
    assert found.ranges == ['all', 'fast', 'medium', 'slow']
    for name, mean, ap in zip(found.ranges, found.mean, found.ap, strict=True):
        assert mean == pytest.approx(expected[name]['map'], abs=1e-12)
        wanted = np.array([expected[name]['ap'][c] for c in truth.classes], float)
        np.testing.assert_allclose(ap, wanted, rtol=0, atol=1e-12)


def random_set(rng, images, grid, boxes_per_class, objects):
    """Integer boxes on a coarse grid and few scores: many equal IoUs and scores."""

    def box():
        x, y = rng.integers(0, grid, 2)
        w, h = rng.integers(1, 4, 2) * 2
        return [x, y, x + w, y + h]

    results, gt = [], []
    for _ in range(images):
        counts = rng.integers(0, boxes_per_class + 1, 3)
        scored = [[[*box(), rng.integers(1, 6) / 10] for _ in range(n)] for n in counts]
        results.append([rows(*per_class) for per_class in scored])
        gt.append([(int(rng.integers(3)), box()) for _ in range(rng.integers(objects + 1))])
    return results, gt


def motion_layouts(rng, gt):
    levels = [0.0, 0.3, 0.7, 0.8, 0.9, 0.95, 1.0]
    for draw in (lambda: rng.choice(levels), lambda: 1.0, rng.random):
        yield [[float(draw()) for _ in per_image] for per_image in gt]


@pytest.mark.parametrize(
    ('images', 'grid', 'boxes', 'objects'),
    [(12, 4, 6, 6), (10, 2, 3, 14), (30, 6, 4, 3), (4, 3, 40, 9), (8, 50, 3, 2), (3, 4, 5, 0)],
)
def test_equals_the_literal_loop_in_blocks_of_any_size(monkeypatch, images, grid, boxes, objects):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        results, gt = random_set(rng, images, grid, boxes, objects)
        for motion in motion_layouts(rng, gt):
            given = from_lists(results, len(gt), 3), truth_of(gt, motion)
            found, wanted = vid_ap(*given), literal_vid_ap(*given)
            np.testing.assert_allclose(found.ap, wanted, rtol=0, atol=1e-12)
            known = [ap[~np.isnan(ap)] for ap in wanted]
            means = [ap.mean() if len(ap) else np.nan for ap in known]
            np.testing.assert_allclose(found.mean, means, rtol=0, atol=1e-12)
            monkeypatch.setattr(vid_matching, 'BLOCK', 7)
            np.testing.assert_array_equal(vid_ap(*given).ap, found.ap)
            monkeypatch.undo()
    assert found.ranges == list(RANGES)


@pytest.mark.parametrize(
    ('n', 'checksum'), [(16, 3857919182), (17, 2068997783), (40, 356935104), (3000, 2024378045)]
)
def test_ties_come_as_from_the_introsort_of_the_original(n, checksum):
    """Which is insertion up to 16 items; the checksums are those of an introsort written out."""
    score = (np.arange(n) * 7919 % 1009 % 9 / 9).astype(np.float32)
    order = descending(score)
    assert (np.diff(score[order]) <= 0).all()
    assert zlib.crc32(order.astype(np.int32).tobytes()) == checksum
