import naive
import numpy as np
import pytest
import torch
from padded import box_rows, pad

from mmdet.models.task_modules import MaxIoUAssigner, box_iou

RPN = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
DC5 = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
FPN = dict(DC5, match_low_quality=False)
ON_THE_GRID = [8.0, 8.0, 32.0, 32.0]  # garbage that overlaps the boxes below by up to 1


def assign(assigner: MaxIoUAssigner, candidates: torch.Tensor, gts: torch.Tensor) -> list[int]:
    """Of one image, with slots on both sides that do not exist."""
    boxes, valid = pad([candidates], garbage=ON_THE_GRID)
    gt_boxes, gt_valid = pad([gts], garbage=ON_THE_GRID)
    assigned = assigner.assign(boxes, valid, gt_boxes, gt_valid)[0]
    assert (assigned[len(candidates) :] == -1).all()
    return assigned[: len(candidates)].tolist()


def integer_boxes(n: int, seed: int) -> torch.Tensor:
    """Boxes on a coarse grid: many pairs have exactly the same IoU."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 4, (n, 2))
    return torch.tensor(np.concatenate([low, low + rng.integers(1, 4, (n, 2))], 1)).float() * 8


@pytest.mark.parametrize('settings', [RPN, DC5, FPN], ids=['rpn', 'dc5', 'fpn'])
@pytest.mark.parametrize('seed', range(5))
def test_equals_the_literal_rules_also_with_ties(settings, seed):
    candidates, gts = integer_boxes(60, seed), integer_boxes(4, 100 + seed)
    assigned = assign(MaxIoUAssigner(**settings), candidates, gts)
    assert assigned == naive.assign(candidates.numpy(), gts.numpy(), **settings).tolist()


@pytest.mark.parametrize('settings', [RPN, DC5, FPN], ids=['rpn', 'dc5', 'fpn'])
@pytest.mark.parametrize('shared', [True, False], ids=['one set of boxes', 'boxes of each image'])
def test_a_batch_equals_its_images_one_by_one(settings, shared):
    counts = [(60, 4), (25, 0), (1, 7), (0, 3)]
    own = [
        integer_boxes(60 if shared else n, 0 if shared else i) for i, (n, _) in enumerate(counts)
    ]
    gts = [integer_boxes(k, 100 + i) for i, (_, k) in enumerate(counts)]
    boxes, valid = pad(own, garbage=ON_THE_GRID)
    if shared:
        boxes, valid = own[0], torch.rand(4, 60, generator=torch.manual_seed(0)) < 0.7
    found = MaxIoUAssigner(**settings).assign(boxes, valid, *pad(gts, garbage=ON_THE_GRID))
    for i, assigned in enumerate(found):
        candidates = (boxes if shared else boxes[i])[valid[i]]
        expected = naive.assign(candidates.numpy(), gts[i].numpy(), **settings)
        assert assigned[valid[i]].tolist() == expected.tolist()
        assert (assigned[~valid[i]] == -1).all()


@pytest.mark.parametrize(('height', 'expected'), [(7.0, 1), (6.99, -1), (3.0, -1), (2.99, 0)])
def test_thresholds_belong_to_the_upper_side(height, expected):
    assigner = MaxIoUAssigner(**RPN, match_low_quality=False)
    found = assign(assigner, box_rows([0, 0, 10, height]), box_rows([0, 0, 10, 10]))
    assert found == [expected]


def test_iou_equals_a_loop_and_empty_boxes_give_zero():
    a, b = integer_boxes(20, 1) + 0.25, integer_boxes(10, 2)
    expected = [[naive.iou(x, y) for y in b.numpy()] for x in a.numpy()]
    torch.testing.assert_close(box_iou(a, b), torch.tensor(expected), atol=1e-6, rtol=1e-6)
    both = box_iou(a, torch.stack([b, b.flip(0)]))
    torch.testing.assert_close(both[1], torch.tensor(expected).flip(1), atol=1e-6, rtol=1e-6)
    point = box_rows([3, 3, 3, 3])
    assert box_iou(point, point).tolist() == [[0.0]]


def test_ignore_regions_are_refused():
    with pytest.raises(ValueError, match=r'ignore_iof_thr=0.5.*only -1'):
        MaxIoUAssigner(**RPN, ignore_iof_thr=0.5)
