import json
import zlib

import numpy as np
import pytest
from eval_files import truth_of
from vid_oracle import RANGES, literal_vid_ap

from mmdet.datasets.motion import motion_from_mat
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation import vid_matching
from mmdet.evaluation.ground_truth import ground_truth
from mmdet.evaluation.results import DetectionArrays, from_lists
from mmdet.evaluation.vid_ap import vid_ap
from mmdet.evaluation.vid_matching import descending, descending_within

BOX = [10, 10, 39, 39]  # 31 wide in the protocol's count
FAR = [70, 70, 79, 79]


def score(results, gt, motion=None, classes=1):
    """{range: [C] AP} of nested results and objects."""
    truth = truth_of(gt, motion, classes=[f'class {c}' for c in range(classes)])
    found = vid_ap(from_lists(results, len(gt), classes), truth)
    return dict(zip(found.ranges, found.ap, strict=True))


def rows(*detections):
    return np.array(detections, np.float32).reshape(-1, 5)


# --- against the original ------------------------------------------------------------------------


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
        wanted = [expected[name]['ap'][c] for c in truth.classes]
        wanted = np.array([np.nan if value is None else value for value in wanted])
        np.testing.assert_allclose(ap, wanted, rtol=0, atol=1e-12)


# --- against the literal loop --------------------------------------------------------------------


def random_set(rng, images, classes, grid, boxes_per_class, objects):
    """Integer boxes on a coarse grid and few scores: many equal IoUs and scores."""

    def box():
        x, y = rng.integers(0, grid, 2)
        w, h = rng.integers(1, 4, 2) * 2
        return [x, y, x + w, y + h]

    results, gt = [], []
    for _ in range(images):
        counts = rng.integers(0, boxes_per_class + 1, classes)
        results.append(
            [rows(*[[*box(), rng.integers(1, 6) / 10] for _ in range(n)]) for n in counts]
        )
        gt.append([(int(rng.integers(classes)), box()) for _ in range(rng.integers(objects + 1))])
    return results, gt


def motion_layouts(rng, gt):
    levels = [0.0, 0.3, 0.7, 0.8, 0.9, 0.95, 1.0]
    yield [[float(rng.choice(levels)) for _ in per_image] for per_image in gt]
    yield [[1.0 for _ in per_image] for per_image in gt]
    yield [[float(m) for m in rng.random(len(per_image))] for per_image in gt]


@pytest.mark.parametrize(
    ('images', 'grid', 'boxes', 'objects'),
    [(12, 4, 6, 6), (10, 2, 3, 14), (30, 6, 4, 3), (4, 3, 40, 9), (8, 50, 3, 2), (3, 4, 5, 0)],
)
def test_equals_the_literal_loop(images, grid, boxes, objects):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        results, gt = random_set(rng, images, 3, grid, boxes, objects)
        for motion in motion_layouts(rng, gt):
            found = score(results, gt, motion, classes=3)
            for name in RANGES:
                wanted = literal_vid_ap(results, gt, motion, 3, name)
                np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-12)


def test_ties_of_the_range_matter_in_these_sets():
    """Guards the test above: it must contain matches that differ between ranges."""
    differ = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        results, gt = random_set(rng, 10, 3, 2, 3, 14)
        detections = from_lists(results, 10, 3)
        truth = truth_of(gt, next(motion_layouts(rng, gt)))
        right = vid_ap(detections, truth).ap
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vid_matching, '_tie', lambda equal, ignored: equal.argmax(axis=1))
            differ += not np.allclose(vid_ap(detections, truth).ap, right, equal_nan=True)
    assert differ >= 3


def test_blocks_do_not_change_anything(monkeypatch):
    results, gt = random_set(np.random.default_rng(3), 30, 3, 5, 6, 6)
    motion = [[0.8] * len(per_image) for per_image in gt]
    whole = score(results, gt, motion, classes=3)
    monkeypatch.setattr(vid_matching, 'BLOCK', 7)
    for name, ap in score(results, gt, motion, classes=3).items():
        np.testing.assert_array_equal(ap, whole[name])


# --- equal scores --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('n', 'checksum'), [(16, 3857919182), (17, 2068997783), (40, 356935104), (3000, 2024378045)]
)
def test_ties_come_as_from_the_introsort_of_the_original(n, checksum):
    """Which is insertion up to 16 items; the checksums are those of an introsort written out."""
    score = (np.arange(n) * 7919 % 1009 % 9 / 9).astype(np.float32)
    order = descending(score)
    assert (np.diff(score[order]) <= 0).all()
    assert zlib.crc32(order.astype(np.int32).tobytes()) == checksum


@pytest.mark.parametrize('levels', [3, 1_000_000])
def test_images_are_sorted_one_by_one(levels):
    rng = np.random.default_rng(levels)
    sizes = [0, 1, 5, 16, 17, 60, 3, 200]
    group = np.repeat(np.arange(len(sizes)), sizes)
    score = rng.integers(0, levels, len(group)).astype(np.float32)
    wanted = []
    for g in range(len(sizes)):
        rows = np.flatnonzero(group == g)
        wanted += rows[descending(score[rows])].tolist()
    assert descending_within(group, score).tolist() == wanted
    in_order = descending_within(group, score[wanted])
    if levels > 3:  # sorted and without ties: they stay
        assert in_order.tolist() == list(range(len(group)))


# --- the rules, one by one -----------------------------------------------------------------------


def test_iou_of_exactly_half_is_a_hit():
    gt = [[(0, [0, 0, 8, 8])]]  # 10 x 10 in the protocol's count
    half = [0, 0, 8, 3]  # 10 x 5, inside
    assert score([[rows([*half, 0.9])]], gt)['all'] == pytest.approx(1)
    assert score([[rows([0, 0, 8, 2.99, 0.9])]], gt)['all'] == 0


def test_a_class_without_detections_scores_zero_and_counts_in_the_mean():
    truth = truth_of([[(0, BOX), (1, FAR)]], classes=('a', 'b', 'c'))
    found = vid_ap(from_lists([[rows([*BOX, 0.9]), rows(), rows()]], 1, 3), truth)
    np.testing.assert_allclose(found.ap[0], [1, 0, np.nan])
    assert found.mean[0] == pytest.approx(0.5)


def test_nothing_at_all():
    found = vid_ap(from_lists([[rows()], [rows()]], 2, 1), truth_of([[], []], [[], []], ['a']))
    assert np.isnan(found.mean).all() and np.isnan(found.ap).all()


def test_crowds_do_not_take_part():
    truth = truth_of([[(0, BOX), (0, FAR)]], [[0.2, 0.8]], classes=('a',))
    truth.crowd[1] = True
    found = vid_ap(from_lists([[rows([*BOX, 0.9], [*FAR, 0.8])]], 1, 1), truth)
    np.testing.assert_allclose(found.mean, [1, 1, np.nan, np.nan])
