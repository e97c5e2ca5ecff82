"""Suppression against loops and torchvision's operator."""

import naive
import numpy as np
import pytest
import torch
import torchvision

from mmdet.models.task_modules import batched_nms, nms, sorted_nms


def random_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    """Quarter-pixel coordinates: exact in float32 also after the class offset."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 400, (*shape, 2)) / 4
    return torch.tensor(np.concatenate([low, low + rng.integers(40, 240, (*shape, 2)) / 4], -1))


def kept(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    groups: torch.Tensor,
    threshold: float,
    max_keep: int = 300,
) -> list[int]:
    """`batched_nms` of one image whose boxes all exist."""
    valid = torch.ones(1, len(boxes), dtype=torch.bool)
    indices, used = batched_nms(
        boxes[None], scores[None], valid, groups[None].long(), threshold, max_keep
    )
    assert indices.shape == used.shape == (1, max_keep)
    assert used.int().diff(dim=1).amax() <= 0  # used slots come first
    return indices[used].tolist()


def test_iou_equal_to_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # IoU exactly .5
    scores, groups = torch.tensor([0.9, 0.8]), torch.zeros(2)
    assert kept(boxes, scores, groups, 0.5) == [0, 1]
    assert kept(boxes, scores, groups, 0.4999) == [0]


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
        found = kept(boxes, scores, groups, 0.5)
        shifted = boxes.numpy() + groups.numpy()[:, None].astype(np.float32) * np.float32(1901)
        assert found == naive.nms(shifted, scores.numpy(), 0.5)
        flipped += found != naive.nms(boxes.numpy(), scores.numpy(), 0.5)
    assert flipped > 0


@pytest.mark.parametrize('max_keep', [1, 30, 1000])
@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
@pytest.mark.parametrize('prefix', [nms.FIRST_PREFIX, 16], ids=['one look', 'several looks'])
def test_equals_torchvision_with_equal_scores_in_their_order(
    monkeypatch, prefix, threshold, max_keep
):
    monkeypatch.setattr(nms, 'FIRST_PREFIX', prefix)
    generator = torch.Generator().manual_seed(2)
    boxes, groups = random_boxes(3, 400).float(), torch.randint(5, (3, 400), generator=generator)
    scores = torch.randint(40, (3, 400), generator=generator) / 40  # ten boxes of every score
    boxes[1, 200:] = boxes[1, :200]  # every box twice
    valid = torch.rand(3, 400, generator=generator) < torch.tensor([[0.8], [1], [0.1]])
    indices, used = batched_nms(boxes, scores, valid, groups, threshold, max_keep)
    for i in range(3):
        order = sorted(valid[i].nonzero().flatten().tolist(), key=lambda n: -scores[i, n])
        moved = boxes[i] + groups[i, :, None] * (boxes[i][valid[i]].max() + 1)
        rank = -torch.arange(len(order)).float()
        expected = torch.tensor(order)[torchvision.ops.nms(moved[order], rank, threshold)]
        assert indices[i][used[i]].tolist() == expected[:max_keep].tolist()


@pytest.mark.parametrize('n', [0, 4])
def test_nothing_to_suppress(n):
    boxes, scores = torch.rand(2, n, 4), torch.zeros(2, n)
    groups, valid = torch.ones(2, n, dtype=torch.long), torch.zeros(2, n, dtype=torch.bool)
    if n:
        indices, used = batched_nms(boxes, scores, valid, groups, 0.5, 7)
    else:
        indices, used = sorted_nms(boxes, valid, 0.5, 7)
    assert indices.shape == (2, 7) and not used.any()
