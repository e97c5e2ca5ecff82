import naive
import numpy as np
import pytest
import torch

from mmdet.models.task_modules import MaxIoUAssigner, box_iou

RPN = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
DC5 = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
FPN = dict(DC5, match_low_quality=False)


def boxes(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def integer_boxes(n: int, seed: int) -> torch.Tensor:
    """Boxes on a coarse grid: many pairs have exactly the same IoU."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 4, (n, 2))
    return torch.tensor(np.concatenate([low, low + rng.integers(1, 4, (n, 2))], 1)).float() * 8


@pytest.mark.parametrize('settings', [RPN, DC5, FPN], ids=['rpn', 'dc5', 'fpn'])
@pytest.mark.parametrize('seed', range(5))
def test_equals_the_literal_rules_also_with_ties(settings, seed):
    candidates, gts = integer_boxes(60, seed), integer_boxes(4, 100 + seed)
    assigned = MaxIoUAssigner(**settings).assign(candidates, gts)
    expected = naive.assign(candidates.numpy(), gts.numpy(), **settings)
    assert assigned.tolist() == expected.tolist()


def test_low_quality_match_takes_a_box_from_its_best_ground_truth():
    candidates = boxes([0, 0, 10, 10], [50, 50, 60, 60])
    gts = boxes([0, 0, 10, 9], [0, 0, 10, 4])  # IoU .9 and .4 with the first candidate
    assert MaxIoUAssigner(**RPN).assign(candidates, gts).tolist() == [2, 0]
    without = MaxIoUAssigner(**RPN, match_low_quality=False)
    assert without.assign(candidates, gts).tolist() == [1, 0]
    strict = MaxIoUAssigner(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.41)
    assert strict.assign(candidates, gts).tolist() == [1, 0]


def test_all_boxes_that_tie_for_the_best_are_taken_and_later_ground_truths_win():
    candidates = boxes([0, 0, 10, 4], [0, 6, 10, 10], [0, 0, 10, 3])  # IoU .4, .4, .3
    assert MaxIoUAssigner(**RPN).assign(candidates, boxes([0, 0, 10, 10])).tolist() == [1, 1, -1]
    twice = boxes([0, 0, 10, 10], [0, 0, 10, 10])
    assert MaxIoUAssigner(**RPN).assign(candidates, twice).tolist() == [2, 2, -1]


@pytest.mark.parametrize(('height', 'expected'), [(7.0, 1), (6.99, -1), (3.0, -1), (2.99, 0)])
def test_thresholds_belong_to_the_upper_side(height, expected):
    assigner = MaxIoUAssigner(**RPN, match_low_quality=False)
    found = assigner.assign(boxes([0, 0, 10, height]), boxes([0, 0, 10, 10]))
    assert found.tolist() == [expected]


def test_without_ground_truth_everything_is_background():
    assert MaxIoUAssigner(**RPN).assign(integer_boxes(5, 0), boxes()).tolist() == [0] * 5
    assert len(MaxIoUAssigner(**RPN).assign(boxes(), boxes([0, 0, 1, 1]))) == 0


def test_iou_equals_a_loop_and_empty_boxes_give_zero():
    a, b = integer_boxes(20, 1) + 0.25, integer_boxes(10, 2)
    expected = [[naive.iou(x, y) for y in b.numpy()] for x in a.numpy()]
    torch.testing.assert_close(box_iou(a, b), torch.tensor(expected), atol=1e-6, rtol=1e-6)
    point = boxes([3, 3, 3, 3])
    assert box_iou(point, point).tolist() == [[0.0]]


def test_ignore_regions_are_refused():
    with pytest.raises(ValueError, match=r'ignore_iof_thr=0.5.*only -1'):
        MaxIoUAssigner(**RPN, ignore_iof_thr=0.5)
