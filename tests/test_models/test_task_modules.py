"""Anchors, assignment, sampling, coding and suppression, against literal rules."""

import math

import naive
import numpy as np
import pytest
import torch
import torchvision
from dense_parts import pad
from torch import Tensor

from mmdet.models.task_modules import (
    AnchorGenerator,
    DeltaXYWHBBoxCoder,
    MaxIoUAssigner,
    RandomSampler,
    batched_nms,
    box_iou,
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


def test_legacy_anchors_are_those_of_detectron():
    """Ratio first, then size 64, 128, 256, 512, as Detectron computes them at stride 16."""
    wide = [-38, -16, 53, 31], [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199]
    even = [-24, -24, 39, 39], [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263]
    high = [-14, -36, 29, 51], [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359]
    first = boxes_of(*wide, *even, *high)
    (grid,) = AnchorGenerator(**ANCHORS, legacy=True).grid_anchors([(36, 63)])
    assert len(grid) == 27_216 and torch.equal(grid[:12], first)
    assert torch.equal(grid[-12:], first + torch.tensor([62, 35, 62, 35]) * 16)


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


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('seed', range(3))
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
        expected = naive.assign(own.numpy(), (gts[i] + shift).numpy(), **plain)
        assert assigned[valid[i]].tolist() == expected.tolist()
        assert (assigned[~valid[i]] == -1).all()


@pytest.mark.parametrize(('height', 'expected'), [(7.0, 1), (6.99, -1), (3.0, -1), (2.99, 0)])
def test_thresholds_belong_to_the_upper_side(height, expected):
    one = torch.ones(1, 1, dtype=torch.bool)
    boxes = boxes_of([0, 0, 10, height])[None], boxes_of([0, 0, 10, 10])[None]
    assigner = MaxIoUAssigner(**RPN, match_low_quality=False)
    assert assigner.assign(boxes[0], one, boxes[1], one).item() == expected


def test_empty_boxes_overlap_nothing_and_ignore_regions_are_refused():
    point = boxes_of([3, 3, 3, 3])
    assert box_iou(point, point).item() == 0
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


# ---- box coding


STDS, MEANS = [(1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)], (0.1, -0.2, 0.3, 0.0)
LIMIT = math.log(1000 / 16)


@pytest.mark.parametrize('legacy', [False, True])
def test_encode_by_hand(legacy):
    """Centre (20, 40) to (35, 30), size 20 x 40 to 40 x 20; legacy boxes end a pixel earlier."""
    coder = DeltaXYWHBBoxCoder(MEANS, STDS[1], legacy=legacy)
    boxes = boxes_of([10, 20, 30, 60], [15, 20, 55, 40]) - LAST_PIXEL * legacy
    expected = torch.tensor([15 / 20, -10 / 40, math.log(2), -math.log(2)]) - torch.tensor(MEANS)
    torch.testing.assert_close(coder.encode(*boxes), expected / torch.tensor(STDS[1]))
    assert coder.state_dict() == {}


def literal_decode(box, delta, height, width, legacy) -> np.ndarray:
    """One number after the other; legacy boxes include their last pixel and shrink freely."""
    w, h = box[2] - box[0] + legacy, box[3] - box[1] + legacy
    x, y = box[0] + 0.5 * w + delta[0] * w, box[1] + 0.5 * h + delta[1] * h
    least = -math.inf if legacy else -LIMIT
    w, h = (
        w * math.exp(np.clip(delta[2], least, LIMIT)),
        h * math.exp(np.clip(delta[3], least, LIMIT)),
    )
    decoded = np.array([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w - legacy, y + 0.5 * h - legacy])
    return decoded.clip(0, [width - legacy, height - legacy] * 2)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('stds', STDS)
def test_decode_of_several_images_and_classes_equals_a_loop(stds, legacy):
    rng = np.random.default_rng(2)
    proposals = random_boxes(2, 6, seed=3, step=1.0, place=350, side=200)
    deltas = torch.tensor(rng.normal(0, 3, (2, 6, 5 * 4))).float() / stds[2]
    deltas[..., 2:4] *= 4  # beyond both limits
    sizes = torch.tensor([[300, 420], [250, 180]])
    decoded = DeltaXYWHBBoxCoder(MEANS, stds, legacy=legacy).decode(proposals, deltas, sizes)
    assert decoded.shape == (2, 6, 5, 4)
    for b, n, k in np.ndindex(2, 6, 5):
        delta = deltas[b, n, 4 * k : 4 * k + 4].double().numpy() * stds + MEANS
        box = proposals[b, n].double().numpy()
        expected = literal_decode(box, delta, *sizes[b].tolist(), legacy)
        np.testing.assert_allclose(decoded[b, n, k].numpy(), expected, atol=2e-3, rtol=1e-5)


# ---- suppression


def kept(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> list[int]:
    """`batched_nms` of one image whose boxes all exist."""
    valid = torch.ones(1, len(boxes), dtype=torch.bool)
    indices, used = batched_nms(boxes[None], scores[None], valid, groups[None], threshold, 300)
    return indices[used].tolist()


def test_a_box_whose_iou_equals_the_threshold_is_kept():
    boxes = boxes_of([0, 0, 10, 10], [0, 0, 10, 5])  # IoU exactly .5
    scores, groups = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.long)
    assert kept(boxes, scores, groups, 0.5) == [0, 1]
    assert kept(boxes, scores, groups, 0.4999) == [0]


def test_the_offset_between_classes_rounds_as_in_the_original():
    """Next to the threshold, float32 decides as on the shifted boxes, not as class by class."""
    rng = np.random.default_rng(0)
    scores, groups, flipped = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([29, 29, 0]), 0
    for _ in range(200):
        (x, y), (w, h) = rng.uniform(0, 1800, 2), rng.uniform(20, 60, 2)
        shorter = h / 2 * (1 + rng.normal(0, 2e-4))
        boxes = boxes_of([x, y, x + w, y + h], [x, y, x + w, y + shorter], [1899, 1899, 1900, 1900])
        found = kept(boxes, scores, groups, 0.5)
        shifted = boxes.numpy() + groups.numpy()[:, None].astype(np.float32) * np.float32(1901)
        assert found == naive.nms(shifted, scores.numpy(), 0.5)
        flipped += found != naive.nms(boxes.numpy(), scores.numpy(), 0.5)
    assert flipped > 0


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('max_keep', [1, 30, 1000])
@pytest.mark.parametrize('threshold', [0.3, 0.7])
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
