"""YOLOX: assignment, losses and detections against literal loops."""

import naive_dense
import numpy as np
import pytest
import torch
from dense_parts import SIZES, lively, maps, one_image, padded, shapes
from host_waits import CountHostWaits, static_nms

from mmdet.models.dense_heads import YOLOXHead
from mmdet.models.task_modules import SimOTAAssigner, nms
from mmdet.models.task_modules.sim_ota import class_cost

STRIDES = [8, 16, 32]
CLASSES = 3
TRAIN_CFG = dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5))
TEST_CFG = dict(score_thr=0.2, nms=dict(type='nms', iou_threshold=0.65), max_per_img=30)
POINTS = naive_dense.fcos_points([SIZES[s] for s in STRIDES], STRIDES)


def head() -> YOLOXHead:
    cfg = dict(num_classes=CLASSES, in_channels=8, feat_channels=8, strides=STRIDES)
    model = lively(YOLOXHead(**cfg, train_cfg=TRAIN_CFG, test_cfg=TEST_CFG), std=1.0)
    for convs, bias in ((model.multi_level_conv_cls, 0.0), (model.multi_level_conv_obj, 0.0),
                        (model.multi_level_conv_reg, 0.6)):  # fmt: skip
        for conv in convs:
            torch.nn.init.normal_(conv.bias, bias, 0.3)
    return model.eval()  # batch norm as in testing, so that images do not mix


def objects_of(seed: int, count: int) -> tuple[list[list[float]], list[int]]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-5, 60, (count, 2))
    size = rng.uniform(4, 50, (count, 2))
    return np.concatenate([low, low + size], axis=1).tolist(), rng.integers(0, 3, count).tolist()


def batch_of(*counts: int):
    objects = [objects_of(seed, count) for seed, count in enumerate(counts)]
    return objects, padded([o[0] for o in objects], [o[1] for o in objects])


def assign(scores, boxes, gt):
    points = torch.tensor([p[:2] for p in POINTS], dtype=torch.float32)
    strides = torch.tensor([p[2] for p in POINTS], dtype=torch.float32)
    return SimOTAAssigner().assign(scores, boxes, points, strides, gt)


@pytest.mark.parametrize('counts', [(1, 6), (10, 2), (0, 4), (20, 20)])
def test_assignment_equals_a_loop(counts):
    objects, gt = batch_of(*counts)
    rng = np.random.default_rng(9)
    scores = rng.uniform(0.01, 0.9, (2, len(POINTS), CLASSES))
    centres = np.array([p[:2] for p in POINTS]) + rng.normal(0, 6, (2, len(POINTS), 2))
    half = rng.uniform(3, 25, (2, len(POINTS), 2))
    boxes = np.concatenate([centres - half, centres + half], axis=2)
    found = assign(torch.tensor(scores).float(), torch.tensor(boxes).float(), gt)
    conflicts = 0
    for i, (rows, labels) in enumerate(objects):
        expected = naive_dense.sim_ota(scores[i], boxes[i], POINTS, rows, labels)
        got = {p: int(found.objects[i, p]) for p in range(len(POINTS)) if found.positive[i, p]}
        assert got == expected
        for p, k in expected.items():
            value = naive_dense.iou(boxes[i, p], rows[k])
            assert found.ious[i, p].item() == pytest.approx(value, abs=1e-5)
        conflicts += len(expected)
        assert (found.ious[i][~found.positive[i]] == 0).all()
    assert conflicts > 5


def test_a_batch_without_objects_has_no_positives():
    zeros = torch.zeros(2, len(POINTS), 4)
    found = assign(zeros[..., :3], zeros, padded([[], []], [[], []]))
    assert not found.positive.any() and found.ious.sum() == 0


def test_an_object_that_no_point_is_near_is_left_out():
    zeros = torch.zeros(1, len(POINTS), 4)
    gt = padded([[[5000, 5000, 5010, 5010]]], [[0]])
    assert not assign(zeros[..., :3], zeros, gt).positive.any()


def test_class_cost_is_a_binary_cross_entropy_summed_over_classes():
    scores = torch.tensor([[[0.25, 0.81, 0.0], [1.0, 0.5, 0.04]]])
    found = class_cost(scores, torch.tensor([[1, 0]]))
    for p in range(2):
        for k, label in enumerate((1, 0)):
            target = torch.nn.functional.one_hot(torch.tensor(label), 3).float()
            expected = torch.nn.functional.binary_cross_entropy(
                scores[0, p].sqrt(), target, reduction='sum'
            )
            assert found[0, p, k].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize('use_l1', [False, True])
def test_losses_equal_a_loop_and_a_batch_is_the_mean_of_its_images(use_l1):
    model, feats = head(), maps(STRIDES, 8)
    model.use_l1 = use_l1
    objects, gt = batch_of(5, 8)
    outs = model(feats)
    expected = []
    for i, (rows, labels) in enumerate(objects):
        raw = [
            np.concatenate([getattr(out, name)[i].detach().double().numpy() for out in outs])
            for name in ('logits', 'raw', 'objectness')
        ]
        expected.append(naive_dense.yolox_losses(*raw, POINTS, rows, labels))
    found = model.losses(feats, gt, shapes(2))
    assert set(found) == set(expected[0]) - (set() if use_l1 else {'loss_l1'})
    for name, value in found.items():
        mean = (expected[0][name] + expected[1][name]) / 2
        assert value.item() == pytest.approx(mean, rel=1e-4), name
    single = model.losses([x[1:] for x in feats], one_image(gt, 1), shapes(1))
    assert single['loss_bbox'].item() == pytest.approx(expected[1]['loss_bbox'], rel=1e-4)


def test_without_objects_every_parameter_still_has_a_gradient():
    model = head()
    model.use_l1 = True
    losses = model.losses(maps(STRIDES, 8), padded([[], []], [[], []]), shapes(2))
    assert {n for n, v in losses.items() if v.item() == 0} == {'loss_cls', 'loss_bbox', 'loss_l1'}
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('levels', [None, (0, 2)])
@torch.no_grad()
def test_detections_equal_a_loop(levels):
    model, feats = head(), maps(STRIDES, 8)
    found = model.find(feats, shapes(2), levels=levels).detections
    chosen = [0, 1, 2] if levels is None else list(levels)
    for i in (0, 1):
        candidates = []
        for out, level in zip(model(feats, levels=levels), chosen, strict=True):
            corners = [(x - s / 2, y - s / 2) for x, y, s in POINTS if s == STRIDES[level]]
            logits, presence = out.logits[i].double().numpy(), out.objectness[i].double().numpy()
            for p, (x, y) in enumerate(corners):
                dx, dy, dw, dh = out.raw[i, p].double().numpy() * 1.0
                s = STRIDES[level]
                cx, cy, w, h = x + dx * s, y + dy * s, np.exp(dw) * s, np.exp(dh) * s
                scores = naive_dense.sigmoid(logits[p]) * naive_dense.sigmoid(presence[p])
                label = int(scores.argmax())
                if scores[label] >= 0.2:
                    box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                    candidates.append((box, scores[label], label, level))
        expected = naive_dense.suppressed(candidates, 0.65, 30)
        count = int(found.valid[i].sum())
        assert count == len(expected) > 5 and found.valid[i, :count].all()
        for row, (box, score, label, level) in enumerate(expected):
            np.testing.assert_allclose(found.boxes[i, row], box, rtol=1e-4, atol=1e-3)
            assert found.scores[i, row].item() == pytest.approx(score, rel=1e-4)
            assert (found.labels[i, row], found.levels[i, row]) == (label, level)


@torch.no_grad()
def test_other_maps_for_classes_leave_boxes_and_objectness_alone():
    model, feats, others = head(), maps(STRIDES, 8), maps(STRIDES, 8, seed=5)
    for out, plain, other in zip(model(feats, others), model(feats), model(others), strict=True):
        assert torch.equal(out.boxes, plain.boxes)
        assert torch.equal(out.objectness, plain.objectness)
        assert torch.equal(out.logits, other.logits)


def test_nothing_makes_the_host_wait(monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model, feats, gt = head(), maps(STRIDES, 8), batch_of(4, 0)[1]
    sizes = shapes(2)
    with CountHostWaits() as counter:
        found = model.find(feats, sizes).detections
        losses = model.losses(feats, gt, sizes)
    assert not +counter.waits
    assert found.valid.any() and all(loss.isfinite() for loss in losses.values())
