"""Curves, confusions and mistakes against literal loops."""

import numpy as np
import pytest
from eval_files import truth_of

from mmdet.evaluation.results import from_lists
from mmdet.evaluation.vid_ap import match_by_class, motion_ranges
from mmdet.programs.analyse import mistakes as mistakes_module
from mmdet.programs.analyse.analysis import precision_recall
from mmdet.programs.analyse.mistakes import KINDS, confusion_matrix, find_mistakes
from mmdet.programs.benchmark.literal_vid import iou as literal_iou
from mmdet.programs.benchmark.literal_vid import literal_vid_ap

CLASSES, IMAGES, THR = 3, 12, 0.3
BOX = [10, 10, 40, 40]


def random_set(seed):
    """Results and objects of few, overlapping boxes; every score occurs once."""
    rng = np.random.default_rng(seed)

    def box():
        x, y = rng.integers(0, 30, 2)
        return [x, y, x + rng.integers(8, 20), y + rng.integers(8, 20)]

    scores = iter(rng.permutation(2000) / 2000)
    results, gt = [], []
    for _ in range(IMAGES):
        gt.append([(int(rng.integers(CLASSES)), box()) for _ in range(rng.integers(5))])
        per_class = [[] for _ in range(CLASSES)]
        for label, b in gt[-1]:  # near an object, sometimes as another class
            for _ in range(rng.integers(4)):
                shifted = (np.array(b) + rng.integers(-2, 3, 4)).tolist()
                said = label if rng.random() < 0.7 else int(rng.integers(CLASSES))
                per_class[said].append([*shifted, next(scores)])
        per_class[rng.integers(CLASSES)].append([*box(), next(scores)])
        results.append(of_classes(*per_class))
    return results, gt


def of_classes(*rows):
    """The results of an image: rows (box, score) of the first classes."""
    rows = [*rows, *[[]] * (CLASSES - len(rows))]
    return [np.array(of_class, np.float32).reshape(-1, 5) for of_class in rows]


def iou(a, b):
    """Of two boxes."""
    return literal_iou(np.array([a], np.float32), np.array([b], np.float32))[0, 0]


def matched(results, gt):
    truth = truth_of(gt, [[1.0] * len(per_image) for per_image in gt])
    detections = from_lists(results, len(gt), CLASSES)
    return truth, detections, list(match_by_class(detections, truth, motion_ranges(truth)))


def greedy(rows, boxes, free):
    """Literal match of one image: yields (row, object or None), best score first."""
    for row in sorted(rows, key=lambda r: -r[4]):
        overlaps = [(iou(row[:4], boxes[k]), -k) for k in free]
        best = max(overlaps, default=(0, 0))
        hit = -best[1] if best[0] >= 0.5 else None
        if hit is not None:
            free.remove(hit)
        yield row, hit


def test_the_area_below_a_curve_is_the_ap_of_the_protocol():
    for seed in range(2):
        truth, detections, matches = matched(*random_set(seed))
        curves = precision_recall(matches)
        wanted = literal_vid_ap(detections, truth)[0]
        np.testing.assert_allclose(curves[:, 1:].mean(axis=1), wanted, atol=2e-3)


@pytest.mark.parametrize('seed', range(3))
def test_confusion_against_a_loop(seed):
    results, gt = random_set(seed)
    truth, detections, _ = matched(results, gt)
    wanted = np.zeros((CLASSES + 1, CLASSES + 1), int)
    for image, objects in zip(results, gt, strict=True):
        rows = [(*r, c) for c, per_class in enumerate(image) for r in per_class if r[4] >= THR]
        free = list(range(len(objects)))
        for row, hit in greedy(rows, [box for _, box in objects], free):
            wanted[CLASSES if hit is None else objects[hit][0], row[5]] += 1
        for k in free:
            wanted[objects[k][0], CLASSES] += 1
    assert wanted[:CLASSES, :CLASSES].sum() > np.trace(wanted) > 0  # there are confusions
    np.testing.assert_array_equal(confusion_matrix(detections, truth, THR), wanted)


def literal_mistakes(results, gt):
    """[(score, kind)] of false positives, and the missed (image, box) with the score they got."""
    false, missed = [], []
    for i, (image, objects) in enumerate(zip(results, gt, strict=True)):
        for c, per_class in enumerate(image):
            mine = [box for label, box in objects if label == c]
            others = [box for label, box in objects if label != c]
            got = {}
            for row, hit in greedy(per_class, mine, list(range(len(mine)))):
                if hit is not None:
                    got[hit] = row[4]
                elif row[4] >= THR:
                    false.append((row[4], literal_kind(row, mine, others)))
            missed += [(i, *mine[k], got.get(k, 0)) for k in range(len(mine))]
    return sorted(false, reverse=True), sorted(m for m in missed if m[-1] < THR)


def literal_kind(row, mine, others):
    own = max((iou(row[:4], box) for box in mine), default=0)
    if own >= 0.5:
        return 'duplicate'
    if any(iou(row[:4], box) >= 0.5 for box in others):
        return 'wrong class'
    return 'poor localisation' if own >= 0.1 else 'background'


def test_mistakes_against_a_loop(monkeypatch):
    monkeypatch.setattr(mistakes_module, 'BLOCK', 5)
    seen = set()
    for seed in range(4):
        results, gt = random_set(seed)
        truth, detections, matches = matched(results, gt)
        found = find_mistakes(matches, detections, truth, THR, np.full(IMAGES, 1000.0))
        false, missed = literal_mistakes(results, gt)
        scores = detections.score[found.false]
        assert [(s, KINDS[k]) for s, k in zip(scores, found.kind, strict=True)] == false
        rows = found.missed
        got = np.nan_to_num(found.hit_score[rows])
        got = np.column_stack([truth.image[rows], truth.boxes[rows], got]).tolist()
        assert sorted(got) == [list(map(float, entry)) for entry in missed]
        assert (np.diff(truth.area[rows]) <= 0).all()  # all images have one size
        seen |= {kind for _, kind in false}
    assert seen == set(KINDS)
