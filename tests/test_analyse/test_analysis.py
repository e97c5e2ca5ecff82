"""Curves, confusions and mistakes of results by hand."""

import numpy as np
from eval_files import truth_of

from mmdet.evaluation.results import from_lists
from mmdet.evaluation.vid_ap import match_by_class, motion_ranges, vid_ap
from mmdet.programs.analyse.analysis import precision_recall
from mmdet.programs.analyse.mistakes import KINDS, confusion_matrix, find_mistakes
from mmdet.programs.benchmark.scoring import made_up_results

# image 0 has a cat and a dog, image 1 a small and a large cat
GT = [[(0, [0, 0, 20, 20]), (1, [50, 0, 70, 20])], [(0, [0, 0, 9, 9]), (0, [30, 30, 60, 60])]]
HIT, DUPLICATE, OTHER = [0, 0, 20, 20, 0.9], [1, 0, 21, 20, 0.8], [51, 0, 71, 20, 0.7]
BESIDE, NOWHERE, UNSURE = [0, 12, 20, 32, 0.6], [90, 90, 95, 95, 0.5], [0, 0, 9, 9, 0.2]
CAT, DOG = [30, 30, 60, 60, 0.4], [30, 30, 60, 60, 0.65]  # what the large cat is said to be
NONE = np.zeros((0, 5))
ROWS = [[[HIT, DUPLICATE, OTHER, BESIDE, NOWHERE], NONE, NONE], [[CAT, UNSURE], [DOG], NONE]]
DETECTIONS = from_lists([[np.array(r, np.float32) for r in image] for image in ROWS], 2, 3)


def matches_of(detections, truth) -> list:
    return list(match_by_class(detections, truth, motion_ranges(truth)))


def test_the_area_below_a_curve_is_the_ap_of_the_protocol():
    detections, truth = made_up_results(60, 20)
    curves = precision_recall(matches_of(detections, truth))
    np.testing.assert_allclose(
        curves[:, 1:].mean(axis=1), vid_ap(detections, truth).ap[0], atol=2e-3
    )


def test_every_kind_of_mistake_and_the_object_it_is_about(monkeypatch):
    monkeypatch.setattr('mmdet.programs.analyse.mistakes.BLOCK', 3)
    truth = truth_of(GT)
    found = find_mistakes(matches_of(DETECTIONS, truth), DETECTIONS, truth, 0.3, np.full(2, 1e4))
    kinds = ['duplicate', 'wrong class', 'wrong class', 'poor localisation', 'background']
    assert [KINDS[k] for k in found.kind] == kinds
    np.testing.assert_allclose(DETECTIONS.score[found.false], [0.8, 0.7, 0.65, 0.6, 0.5])
    assert found.near.tolist() == [0, 1, 3, 0, -1]
    # sides are counted with +2: 22 x 22 pixels, of which 21 and 10 columns or rows overlap
    np.testing.assert_allclose(found.iou, [21 / 23, 21 / 23, 1, 10 / 34, 0], rtol=1e-6)
    assert found.missed.tolist() == [1, 2]  # the larger part of the frame first
    np.testing.assert_allclose(found.hit_score, [0.9, np.nan, 0.2, 0.4])
    matches = matches_of(DETECTIONS, truth)
    for thr, missed in ((0.45, [3, 2, 1]), (0.2, [1])):  # a score at the threshold counts
        part = find_mistakes(matches, DETECTIONS, truth, thr, np.array([1e6, 1e3]))
        assert part.missed.tolist() == missed


def test_confusion_takes_the_surest_detection_of_an_object():
    found = confusion_matrix(DETECTIONS, truth_of(GT), 0.3)
    #          cat dog c background: what was said; one row per what it is
    assert found.tolist() == [[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [4, 0, 0, 0]]
