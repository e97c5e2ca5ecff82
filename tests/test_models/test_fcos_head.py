"""FCOS: targets, losses and detections against literal loops."""

import naive_dense
import numpy as np
import pytest
import torch
from dense_parts import IMAGE, SIZES, lively, maps, one_image, padded, shapes
from host_waits import CountHostWaits, static_nms

from mmdet.core.errors import ConfigError
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.dense_heads.fcos_targets import distance_ranges, fcos_targets
from mmdet.models.dense_heads.points import grid_points
from mmdet.models.task_modules import nms
from mmdet.registry import MODELS

STRIDES = [8, 16, 32, 64, 128]
CLASSES = 3
TEST_CFG = dict(nms_pre=40, score_thr=0.3, nms=dict(type='nms', iou_threshold=0.5), max_per_img=15)
POINTS = naive_dense.fcos_points([SIZES[s] for s in STRIDES], STRIDES)


def head(**kwargs) -> FCOSHead:
    cfg = dict(num_classes=CLASSES, in_channels=16, feat_channels=16, stacked_convs=2)
    model = lively(FCOSHead(**cfg, strides=STRIDES, test_cfg=TEST_CFG, **kwargs))
    for scale in model.scales:
        torch.nn.init.normal_(scale.scale, 1.0, 0.2)
    torch.nn.init.constant_(model.conv_reg.bias, 2.5)
    torch.nn.init.normal_(model.conv_cls.bias, std=0.5)
    return model


def random_objects(seed: int, count: int) -> tuple[list[list[float]], list[int]]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-10, 60, (count, 2))
    size = rng.choice([6.0, 20.0, 60.0, 130.0, 260.0, 1040.0], (count, 2))
    size *= rng.uniform(0.8, 1.2, (count, 2))
    boxes = np.concatenate([low - size / 4, low + size], axis=1)
    return boxes.tolist(), rng.integers(0, CLASSES, count).tolist()


def targets(gt):
    points = [grid_points(SIZES[s], s, torch.device('cpu')) for s in STRIDES]
    return fcos_targets(points, distance_ranges(STRIDES), gt, CLASSES)


def batch_of(*counts: int):
    objects = [random_objects(seed, count) for seed, count in enumerate(counts)]
    return objects, padded([o[0] for o in objects], [o[1] for o in objects])


def test_points_are_the_centres_of_cells_row_by_row():
    found = torch.cat([grid_points(SIZES[s], s, torch.device('cpu')) for s in STRIDES])
    assert found.tolist() == [[x, y] for x, y, _ in POINTS]


def test_ranges_are_those_of_the_paper():
    ranges = [(-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)]
    assert distance_ranges(STRIDES) == ranges
    assert distance_ranges([8, 16], reach=2.5) == [(-1, 20), (20, 1e8)]


@pytest.mark.parametrize('counts', [(1, 7), (12, 3), (0, 5), (25, 25)])
def test_targets_equal_a_loop_over_points_and_objects(counts):
    objects, gt = batch_of(*counts)
    labels, distances = targets(gt)
    seen = set()
    for i, (boxes, classes) in enumerate(objects):
        for p, point in enumerate(POINTS):
            label, wanted = naive_dense.fcos_target(point, boxes, classes, CLASSES)
            assert labels[i, p] == label
            np.testing.assert_allclose(distances[i, p], wanted, rtol=1e-4, atol=1e-4)
            seen.add((label < CLASSES, point[2]))
    assert sum(positive for positive, _ in seen) >= 2


def test_both_ends_of_a_range_belong_to_it():
    """The point (4, 4) of stride 8 and (8, 8) of stride 16, with a largest distance of 64."""
    gt = padded([[[0, 0, 68, 8]], [[0, 0, 72, 16]], [[0, 0, 68.01, 8]]], [[0], [1], [2]])
    labels, _ = targets(gt)
    fine, coarse = POINTS.index((4, 4, 8)), POINTS.index((8, 8, 16))
    assert labels[:, fine].tolist() == [0, CLASSES, CLASSES]
    assert labels[1, coarse] == 1


def test_a_point_on_the_border_is_outside_and_the_smallest_object_wins():
    gt = padded([[[4, 0, 20, 20], [0, 0, 40, 40], [8, 8, 18, 18]]], [[0, 1, 2]])
    labels, _ = targets(gt)
    at = {point[:2]: int(label) for point, label in zip(POINTS[:96], labels[0], strict=False)}
    assert at[4, 4] == 1 and at[12, 4] == 0 and at[12, 12] == 2


def test_no_object_at_all_makes_everything_background():
    labels, distances = targets(padded([[], []], [[], []]))
    assert (labels == CLASSES).all() and (distances == 0).all()


def outputs_of(model, feats, i):
    """(logits, distances, centerness) of image i, all levels, as float64 arrays."""
    outs = model(feats)
    return [
        np.concatenate([getattr(out, name)[i].detach().double().numpy() for out in outs])
        for name in ('logits', 'distances', 'centerness')
    ]


@pytest.mark.parametrize('on_reg', [False, True])
def test_losses_equal_a_loop_and_a_batch_is_the_mean_of_its_images(on_reg):
    model, feats = head(centerness_on_reg=on_reg), maps(STRIDES, 16)
    objects, gt = batch_of(4, 9)
    expected = [
        naive_dense.fcos_losses(*outputs_of(model, feats, i), POINTS, *objects[i]) for i in (0, 1)
    ]
    found = model.losses(feats, gt, shapes(2))
    for name, value in found.items():
        mean = (expected[0][name] + expected[1][name]) / 2
        assert value.item() == pytest.approx(mean, rel=1e-4), name
    single = model.losses([x[:1] for x in feats], one_image(gt, 0), shapes(1))
    assert single['loss_cls'].item() == pytest.approx(expected[0]['loss_cls'], rel=1e-4)
    assert set(found) == set(expected[0])


def test_the_released_normalizer_weighs_points_equally():
    model, feats = head(normalizer='batch'), maps(STRIDES, 16)
    objects, gt = batch_of(4, 9)
    total, positives = 0.0, 0
    for i in (0, 1):
        loss = naive_dense.fcos_losses(*outputs_of(model, feats, i), POINTS, *objects[i])
        labels = [naive_dense.fcos_target(p, *objects[i], CLASSES)[0] for p in POINTS]
        count = sum(label < CLASSES for label in labels)
        total, positives = total + loss['loss_cls'] * count, positives + count
    found = model.losses(feats, gt, shapes(2))['loss_cls'].item()
    assert found == pytest.approx(total / positives, rel=1e-4)
    with pytest.raises(ConfigError, match=r"normalizer='frame'.*'image', 'batch'"):
        head(normalizer='frame').losses(feats, gt, shapes(2))


def test_without_objects_every_parameter_still_has_a_gradient():
    model = head()
    losses = model.losses(maps(STRIDES, 16), padded([[], []], [[], []]), shapes(2))
    assert losses['loss_bbox'].item() == 0 and losses['loss_centerness'].item() == 0
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('levels', [None, (0, 2), (1,)])
@torch.no_grad()
def test_detections_equal_a_loop(levels):
    model, feats = head().eval(), maps(STRIDES, 16)
    found = model.find(feats, shapes(2), levels=levels).detections
    chosen = list(range(5)) if levels is None else list(levels)
    for i in (0, 1):
        parts = []
        for out, level in zip(model(feats, levels=levels), chosen, strict=True):
            points = [p for p in POINTS if p[2] == STRIDES[level]]
            parts.append((*(getattr(out, n)[i].double().numpy() for n in
                            ('logits', 'distances', 'centerness')), points))  # fmt: skip
        expected = naive_dense.fcos_detections(parts, IMAGE, 40, 0.3, 0.5, 15)
        count = int(found.valid[i].sum())
        assert count == len(expected) > 5
        assert found.valid[i, :count].all()
        for row, (box, score, label, level) in enumerate(expected):
            np.testing.assert_allclose(found.boxes[i, row], box, rtol=1e-4, atol=1e-3)
            assert found.scores[i, row].item() == pytest.approx(score, rel=1e-4)
            assert (found.labels[i, row], found.levels[i, row]) == (label, chosen[level])


@torch.no_grad()
def test_some_levels_give_what_all_levels_give_there():
    model, feats = head().eval(), maps(STRIDES, 16)
    every = model(feats)
    for out, level in zip(model(feats, levels=(3, 1)), (3, 1), strict=True):
        assert torch.equal(out.logits, every[level].logits)
        assert torch.equal(out.distances, every[level].distances)


@torch.no_grad()
def test_other_maps_for_classes_leave_boxes_alone():
    model, feats, others = head().eval(), maps(STRIDES, 16), maps(STRIDES, 16, seed=5)
    for out, plain, other in zip(model(feats, others), model(feats), model(others), strict=True):
        assert torch.equal(out.distances, plain.distances)
        assert torch.equal(out.logits, other.logits)


def test_names_of_early_checkpoints_are_understood():
    new, old = head(), {}
    for name, value in new.state_dict().items():
        for kind in ('cls', 'reg', 'centerness'):
            name = name.replace(f'conv_{kind}.', f'fcos_{kind}.')
        old[name] = value + 1
    assert set(old) != set(new.state_dict())
    new.load_state_dict(old)
    assert torch.equal(new.conv_centerness.bias, old['fcos_centerness.bias'])


def test_every_class_starts_at_one_percent():
    model = FCOSHead(num_classes=4, in_channels=8, feat_channels=8)
    assert model.conv_cls.bias.sigmoid().tolist() == pytest.approx([0.01] * 4)
    assert model.conv_reg.weight.std().item() == pytest.approx(0.01, rel=0.2)


def test_misspelt_setting_is_named():
    cfg = dict(type='FCOSHead', num_classes=3, in_channels=8, test_cfg=dict(TEST_CFG, nms_pr=1))
    with pytest.raises(ConfigError, match="has no key 'nms_pr'"):
        MODELS.build(cfg)


def test_nothing_makes_the_host_wait(monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model, feats, gt = head(), maps(STRIDES, 16), batch_of(4, 0)[1]
    sizes = shapes(2)
    with CountHostWaits() as counter:
        found = model.find(feats, sizes).detections
        losses = model.losses(feats, gt, sizes)
    assert not +counter.waits
    assert found.valid.any() and all(loss.isfinite() for loss in losses.values())
