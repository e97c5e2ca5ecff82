"""Anchors, assignment, sampling, coding and suppression, against literal rules."""

import numpy as np
import pytest
import torch
import torchvision
from dense_parts import pad
from torch import Tensor

from mmdet.models.task_modules import (
    AnchorGenerator,
    MaxIoUAssigner,
    RandomSampler,
    batched_nms,
    nms,
)
from mmdet.models.task_modules.anchor_generator import MAX_CACHED_SIZES

ANCHORS = dict(strides=[16], ratios=[0.5, 1.0, 2.0], scales=[4, 8, 16, 32])
LAST_PIXEL = torch.tensor([0.0, 0, 1, 1])  # what legacy boxes include


def boxes_of(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def random_boxes(*shape: int, seed: int, step: float, place: int, side: int) -> Tensor:
    """On a grid of `step`: many pairs have exactly the same IoU, and float32 holds them exactly."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(place, (*shape, 2), generator=generator)
    high = low + torch.randint(1, side, (*shape, 2), generator=generator)
    return torch.cat([low, high], -1) * step


# ---- anchors


def test_anchors_of_many_sizes_do_not_pile_up_and_serve_training():
    generator = AnchorGenerator(**ANCHORS)
    assert generator.state_dict() == {} and len(list(generator.buffers())) == 1
    for width in list(range(1, 3 * MAX_CACHED_SIZES)) * 2:
        with torch.inference_mode():
            (grid,) = generator.grid_anchors([(1, width)])
        assert len(grid) == 12 * width and not grid.is_inference()
        assert len(generator._cache) <= MAX_CACHED_SIZES
    assert len(generator._cache) == MAX_CACHED_SIZES


# ---- assignment


RPN = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
DC5 = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
SETTINGS = {
    'rpn': RPN,
    'dc5': DC5,
    'fpn': dict(DC5, match_low_quality=False),
    'c4': dict(RPN, pos_iou_thr=0.5, legacy=True),
}


def small_boxes(count: int, seed: int) -> Tensor:
    return random_boxes(count, seed=seed, step=1.0, place=4, side=4)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes; 0 where the union is empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else 0.0


def literal_assign(
    boxes: np.ndarray,
    gts: np.ndarray,
    pos_iou_thr: float,
    neg_iou_thr: float,
    min_pos_iou: float,
    match_low_quality: bool = True,
) -> np.ndarray:
    """-1 ignored, 0 background, k + 1 for ground truth k: the rules one after the other."""
    assigned = np.full(len(boxes), -1)
    if len(gts) == 0:
        return assigned * 0
    ious = np.array([[iou(b, g) for g in gts] for b in boxes], np.float32)
    for n, row in enumerate(ious):
        if row.max() < np.float32(neg_iou_thr):
            assigned[n] = 0
        if row.max() >= np.float32(pos_iou_thr):
            assigned[n] = row.argmax() + 1
    if match_low_quality:
        for k, column in enumerate(ious.T):
            for n, value in enumerate(column):
                if value == column.max() and value >= np.float32(min_pos_iou):
                    assigned[n] = k + 1
    return assigned


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('shared', [True, False], ids=['one set of boxes', 'boxes of each image'])
def test_assignment_equals_the_literal_rules_for_every_image_of_a_batch(name, seed, shared):
    """With ties, and slots on both sides that do not exist but overlap the boxes."""
    settings, counts = SETTINGS[name], [(60, 4), (25, 0), (1, 7), (0, 3)]
    garbage = [1.0, 1, 4, 4]
    gts = [small_boxes(k, 100 + seed + i) for i, (_, k) in enumerate(counts)]
    boxes, valid = pad(
        [small_boxes(n, seed + i) for i, (n, _) in enumerate(counts)], garbage=garbage
    )
    if shared:
        boxes, valid = small_boxes(60, seed), torch.rand(4, 60) < 0.7
    found = MaxIoUAssigner(**settings).assign(boxes, valid, *pad(gts, garbage=garbage))
    shift = LAST_PIXEL * settings.get('legacy', False)
    plain = {k: v for k, v in settings.items() if k != 'legacy'}
    for i, assigned in enumerate(found):
        own = (boxes if shared else boxes[i])[valid[i]] + shift
        expected = literal_assign(own.numpy(), (gts[i] + shift).numpy(), **plain)
        assert assigned[valid[i]].tolist() == expected.tolist()
        assert (assigned[~valid[i]] == -1).all()


@pytest.mark.parametrize(('height', 'expected'), [(7.0, 1), (6.99, -1), (3.0, -1), (2.99, 0)])
def test_thresholds_belong_to_the_upper_side(height, expected):
    one = torch.ones(1, 1, dtype=torch.bool)
    boxes = boxes_of([0, 0, 10, height])[None], boxes_of([0, 0, 10, 10])[None]
    assigner = MaxIoUAssigner(**RPN, match_low_quality=False)
    assert assigner.assign(boxes[0], one, boxes[1], one).item() == expected


def test_ignore_regions_are_refused():
    with pytest.raises(ValueError, match=r'ignore_iof_thr=0.5.*only -1'):
        MaxIoUAssigner(**RPN, ignore_iof_thr=0.5)


# ---- sampling


def assignment(num_pos: int, num_neg: int, num_ignored: int) -> Tensor:
    values = torch.tensor([3] * num_pos + [0] * num_neg + [-1] * num_ignored)
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]


HALF = dict(num=256, pos_fraction=0.5, add_gt_as_proposals=False)
MANY = {(300, 1000): (128, 128), (20, 1000): (20, 236), (300, 100): (128, 100), (0, 0): (0, 0),
        (0, 1000): (0, 256), (5, 3): (5, 3), (200, 20): (128, 20)}  # fmt: skip


@pytest.mark.parametrize(
    ('settings', 'cases'),
    [
        (HALF, MANY),
        (dict(HALF, num=10**6), {(6, 30): (6, 30), (0, 36): (0, 36)}),  # room for all
        (dict(HALF, neg_pos_ub=3), {(10, 1000): (10, 30), (0, 1010): (0, 3)}),
    ],
)
def test_positives_and_negatives_are_sampled_up_to_their_shares(settings, cases):
    """(positives, negatives) among the candidates of each image: how many of each are taken."""
    total = 1400
    assigned = torch.stack([assignment(p, n, total - p - n) for p, n in cases])
    samples = RandomSampler(**settings).choose(assigned)
    assert samples.indices.shape == (len(cases), min(settings['num'], total))
    negative = samples.valid & ~samples.positive
    counts = zip(samples.positive.sum(1).tolist(), negative.sum(1).tolist(), strict=True)
    assert list(counts) == list(cases.values())
    # positives come first, nothing last, and no candidate twice
    assert ((samples.positive.int() + samples.valid).diff(dim=1) <= 0).all()
    chosen = assigned.gather(1, samples.indices)
    assert (chosen[samples.positive] > 0).all() and (chosen[negative] == 0).all()
    for indices, valid in zip(samples.indices, samples.valid, strict=True):
        assert len(indices[valid].unique()) == valid.sum()


def test_every_candidate_is_drawn_equally_often_by_the_global_generator():
    assigned = assignment(12, 40, 5).expand(4000, -1)  # of 12 positives 4, of 40 negatives 12
    sampler, drawn = RandomSampler(num=16, pos_fraction=0.25), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(sampler.choose(assigned))
    first, again, other = (samples.indices for samples in drawn)
    assert torch.equal(first, again) and not torch.equal(first, other)
    times = torch.bincount(first[drawn[0].valid], minlength=assigned.shape[1]) / 4000
    expected = torch.where(assigned[0] > 0, 4 / 12, torch.where(assigned[0] == 0, 12 / 40, 0.0))
    torch.testing.assert_close(times, expected, atol=0.03, rtol=0)  # four standard deviations
    # draws of two images are their own
    assert (first[:-1] != first[1:]).any(dim=1).float().mean() > 0.99


# ---- suppression


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(('max_keep', 'threshold'), [(1, 0.7), (30, 0.3), (1000, 0.7)])
@pytest.mark.parametrize('prefix', [nms.FIRST_PREFIX, 16], ids=['one look', 'several looks'])
def test_suppression_equals_torchvision_with_equal_scores_in_their_order(
    monkeypatch, prefix, threshold, max_keep, legacy
):
    monkeypatch.setattr(nms, 'FIRST_PREFIX', prefix)
    generator = torch.Generator().manual_seed(2)
    boxes = random_boxes(3, 400, seed=0, step=0.25, place=400, side=240)
    groups = torch.randint(5, (3, 400), generator=generator)
    scores = torch.randint(40, (3, 400), generator=generator) / 40  # ten boxes of every score
    boxes[1, 200:] = boxes[1, :200]  # every box twice
    valid = torch.rand(3, 400, generator=generator) < torch.tensor([[0.8], [1], [0.1]])
    indices, used = batched_nms(boxes, scores, valid, groups, threshold, max_keep, legacy)
    assert indices.shape == used.shape == (3, max_keep) and (used.int().diff(dim=1) <= 0).all()
    for i in range(3):
        own = boxes[i] + LAST_PIXEL * legacy
        order = sorted(valid[i].nonzero().flatten().tolist(), key=lambda n: -scores[i, n])
        moved = own + groups[i, :, None] * (own[valid[i]].max() + 1)
        rank = -torch.arange(len(order)).float()
        expected = torch.tensor(order)[torchvision.ops.nms(moved[order], rank, threshold)]
        assert indices[i][used[i]].tolist() == expected[:max_keep].tolist()
