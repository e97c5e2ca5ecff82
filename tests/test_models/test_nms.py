import naive
import numpy as np
import pytest
import torch

from mmdet.models.task_modules import batched_nms, multiclass_nms


def random_boxes(n: int, seed: int) -> torch.Tensor:
    """Quarter-pixel coordinates: exact in float32 also after the class offset."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 400, (n, 2)) / 4
    return torch.tensor(np.concatenate([low, low + rng.integers(40, 240, (n, 2)) / 4], 1)).float()


def test_iou_equal_to_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # IoU exactly .5
    scores, groups = torch.tensor([0.9, 0.8]), torch.zeros(2)
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == [0, 1]
    assert batched_nms(boxes, scores, groups, 0.4999).tolist() == [0]


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_equals_a_loop_over_groups(threshold):
    boxes, scores = random_boxes(200, 0), torch.rand(200, generator=torch.manual_seed(0))
    groups = torch.arange(200) % 3
    kept = []
    for group in range(3):
        own = (groups == group).nonzero().flatten().numpy()
        kept += [own[i] for i in naive.nms(boxes.numpy()[own], scores.numpy()[own], threshold)]
    found = batched_nms(boxes, scores, groups, threshold)
    assert 20 < len(found) < 200
    assert found.tolist() == sorted(kept, key=lambda i: -scores[i])


def test_the_offset_between_classes_rounds_as_in_the_original():
    """Next to the threshold, float32 decides as on the shifted boxes, not as class by class."""
    rng = np.random.default_rng(0)
    flipped = 0
    for _ in range(200):
        x, y = rng.uniform(0, 1800, 2)
        w, h = rng.uniform(20, 60, 2)
        shorter = h / 2 * (1 + rng.normal(0, 2e-4))
        pair = np.array(
            [[x, y, x + w, y + h], [x, y, x + w, y + shorter], [1899, 1899, 1900, 1900]]
        )
        boxes = torch.tensor(pair).float()
        groups = torch.tensor([29, 29, 0])
        scores = torch.tensor([0.9, 0.8, 0.7])
        found = batched_nms(boxes, scores, groups, 0.5).tolist()
        shifted = boxes.numpy() + groups.numpy()[:, None].astype(np.float32) * np.float32(1901)
        assert found == naive.nms(shifted, scores.numpy(), 0.5)
        flipped += found != naive.nms(boxes.numpy(), scores.numpy(), 0.5)
    assert flipped > 0


def test_classes_are_moved_apart_by_the_largest_coordinate_plus_one():
    boxes = torch.tensor([[90.0, 90, 100, 100], [-10, -10, 0, 0]])  # the second: to 91 ... 101
    scores, groups = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
    assert batched_nms(boxes, scores, groups, 0.7).tolist() == [0, 1]  # IoU 81 / 119 = .68
    assert batched_nms(boxes, scores, groups, 0.65).tolist() == [0]


def test_multiclass_equals_a_loop_over_classes():
    boxes = random_boxes(40 * 3, 1).reshape(40, 3, 4)
    scores = torch.rand(40, 3, generator=torch.manual_seed(1))
    expected = []
    for c in range(3):
        rows = [n for n in range(40) if scores[n, c] > 0.2]
        kept = naive.nms(boxes[rows, c].numpy(), scores[rows, c].numpy(), 0.5)
        expected += [(float(scores[rows[i], c]), c, boxes[rows[i], c].tolist()) for i in kept]
    expected = sorted(expected, reverse=True)[:25]
    found_boxes, found_scores, labels = multiclass_nms(boxes, scores, 0.2, 0.5, 25)
    assert found_scores.tolist() == [e[0] for e in expected]
    assert labels.tolist() == [e[1] for e in expected]
    assert found_boxes.tolist() == [e[2] for e in expected]


def test_a_score_must_be_above_the_threshold():
    boxes = random_boxes(2, 2).reshape(1, 2, 4)
    _, scores, labels = multiclass_nms(boxes, torch.tensor([[0.25, 0.26]]), 0.25, 0.5, 100)
    assert labels.tolist() == [1] and len(scores) == 1


@pytest.mark.parametrize('n', [0, 4])
def test_nothing_to_suppress(n):
    boxes, scores, labels = multiclass_nms(torch.rand(n, 3, 4), torch.zeros(n, 3), 1e-4, 0.5, 100)
    assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))
    assert batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5).shape == (0,)
