"""FCOS, YOLOX and CenterNet: targets, losses and detections against literal loops."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import naive_dense
import numpy as np
import pytest
import torch
from dense_parts import IMAGE, SIZES, lively, maps, padded, shapes
from host_waits import CountHostWaits, static_nms
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.dense_heads import CenterNetHead, FCOSHead, YOLOXHead
from mmdet.models.dense_heads.centernet_targets import center_targets
from mmdet.models.dense_heads.fcos_targets import distance_ranges, fcos_targets
from mmdet.models.dense_heads.points import grid_points
from mmdet.models.task_modules import SimOTAAssigner, nms

CLASSES, STRIDES = 3, [8, 16, 32, 64, 128]
CELLS = naive_dense.cell_centres(SIZES, STRIDES)  # of FCOS; YOLOX has the first three levels
YOLOX_CELLS = [cell for cell in CELLS if cell[2] <= 32]
NMS = dict(nms=dict(type='nms', iou_threshold=0.5))


def fcos_head(**kwargs) -> FCOSHead:
    cfg = dict(
        feat_channels=16,
        stacked_convs=2,
        strides=STRIDES,
        test_cfg=dict(NMS, nms_pre=40, score_thr=0.5, max_per_img=35),
    )
    model = lively(FCOSHead(CLASSES, 16, **cfg, **kwargs))
    for scale in model.scales:
        nn.init.normal_(scale.scale, 1.0, 0.2)
    nn.init.constant_(model.conv_reg.bias, 2.5)
    nn.init.normal_(model.conv_cls.bias, std=0.5)
    return model


def yolox_head(use_l1: bool = True) -> YOLOXHead:
    train_cfg = dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5))
    test_cfg = dict(NMS, score_thr=0.7, max_per_img=41)
    kwargs = dict(strides=STRIDES[:3], train_cfg=train_cfg, test_cfg=test_cfg)
    head = lively(YOLOXHead(CLASSES, 16, 16, **kwargs), std=2.0)
    for conv in (*head.multi_level_conv_cls, *head.multi_level_conv_obj):
        nn.init.constant_(conv.bias, 0.0)
    head.use_l1 = use_l1
    return head.eval()  # batch norm as in testing, so that images do not mix


def centernet_head() -> CenterNetHead:
    test_cfg = dict(score_thr=0.0, max_per_img=12)
    model = lively(CenterNetHead(CLASSES, 16, 16, (8,), test_cfg=test_cfg), std=1.0)
    nn.init.constant_(model.wh_out.bias, 4.0)
    return model


def arrays(outputs: list, names: str, image: int) -> list[np.ndarray]:
    """Of all levels [P, ...], in double precision."""
    return [
        np.concatenate([getattr(out, name)[image].detach().double().numpy() for out in outputs])
        for name in names.split()
    ]


def tensors(outputs) -> list[list[Tensor]]:
    """Of every level: class logits, what makes boxes, and the rest."""
    single = isinstance(outputs, tuple)
    return [outputs] if single else [list(vars(out).values()) for out in outputs]


def fcos_losses(model, feats, image, objects) -> dict:
    outputs = arrays(model(feats), 'logits distances centerness', image)
    return naive_dense.fcos_losses(*outputs, CELLS, objects)


def yolox_losses(model, feats, image, objects) -> dict:
    outputs = arrays(model(feats), 'logits raw objectness', image)
    losses = naive_dense.yolox_losses(*outputs, YOLOX_CELLS, objects)
    return losses if model.use_l1 else {k: v for k, v in losses.items() if k != 'loss_l1'}


def centernet_losses(model, feats, image, objects) -> dict:
    outputs = (x[image].detach().double().numpy() for x in model(feats))
    return naive_dense.centernet_losses(*outputs, objects, 8)


@dataclass
class Case:
    """A head, its strides, its literal losses of one image, those that are 0 without objects, and
    the prior probability of its classes."""

    head: Callable[..., nn.Module]
    losses: Callable[..., dict]
    strides: list[int] = field(default_factory=lambda: STRIDES)
    zero: tuple = ('loss_bbox', 'loss_centerness')
    prior: float = 0.01

    def feats(self, seed: int = 0) -> tuple[Tensor, ...]:
        return maps(self.strides, 16, seed=seed)


CASES = {
    'fcos': Case(fcos_head, fcos_losses),
    'yolox': Case(yolox_head, yolox_losses, STRIDES[:3], zero=('loss_cls', 'loss_bbox', 'loss_l1')),
    'yolox, no l1': Case(
        partial(yolox_head, use_l1=False), yolox_losses, STRIDES[:3], ('loss_cls', 'loss_bbox')
    ),
    'centernet': Case(
        centernet_head, centernet_losses, STRIDES[:1], ('loss_wh', 'loss_offset'), prior=0.1
    ),
}
HEADS = [CASES[name] for name in ('fcos', 'yolox', 'centernet')]
each_head = pytest.mark.parametrize('case', HEADS, ids=['fcos', 'yolox', 'centernet'])


def objects_of(seed: int, count: int, inside: bool = False) -> tuple[list, list]:
    """Boxes and labels for every level; `inside`: cut off at the image's border."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-1, 55, (count, 2))
    size = rng.choice([6.0, 20.0, 60.0, 130.0, 260.0, 1040.0], (count, 2))
    size *= rng.uniform(0.8, 1.2, (count, 2))
    boxes = np.concatenate([low - size / 4, low + size], axis=1)
    if inside:
        boxes = boxes.clip(0, [*IMAGE[::-1]] * 2)
        boxes[:1] = [90, 58, 96, 64]  # in the last cell
    return boxes.tolist(), rng.integers(0, CLASSES, count).tolist()


def batch_of(*counts: int, inside: bool = False):
    objects = [objects_of(seed, count, inside) for seed, count in enumerate(counts)]
    return objects, padded(*zip(*objects, strict=True))


# ---- of every head


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('counts', [(4, 9), (0, 25)])
def test_losses_of_a_batch_are_the_mean_of_what_a_loop_computes_for_each_image(name, counts):
    case = CASES[name]
    model, feats = case.head(), case.feats()
    objects, gt = batch_of(*counts, inside=name == 'centernet')
    expected = [case.losses(model, feats, i, objects[i]) for i in (0, 1)]
    losses = model.losses(feats, gt, shapes(2))
    assert set(losses) == set(expected[0])
    for key, value in losses.items():
        assert value.item() == pytest.approx((expected[0][key] + expected[1][key]) / 2, rel=1e-4)


@each_head
def test_without_objects_every_parameter_still_has_a_gradient(case):
    model = case.head()
    losses = model.losses(case.feats(), padded([[], []], [[], []]), shapes(2))
    assert {name for name, value in losses.items() if value == 0} == set(case.zero)
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@each_head
@torch.no_grad()
def test_other_maps_for_classes_leave_the_rest_alone(case):
    model, feats, others = case.head(), case.feats(), case.feats(seed=5)
    outputs = [model(*given) for given in ((feats, others), (feats,), (others,))]
    for mixed, plain, other in zip(*map(tensors, outputs), strict=True):
        assert torch.equal(mixed[0], other[0]) and torch.equal(mixed[1], plain[1])


@each_head
def test_nothing_makes_the_host_wait(case, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model, feats, gt, sizes = case.head(), case.feats(), batch_of(4, 0)[1], shapes(2)
    with CountHostWaits() as counter:
        found = model.find(feats, sizes).detections
        losses = model.losses(feats, gt, sizes)
    assert not +counter.waits
    assert found.valid.any() and all(loss.isfinite() for loss in losses.values())


@each_head
def test_every_class_starts_at_its_prior_and_a_misspelt_setting_is_named(case):
    kind = type(case.head())
    model = kind(num_classes=4, in_channels=8, feat_channels=8)
    out = {FCOSHead: 'conv_cls', YOLOXHead: 'multi_level_conv_cls.1', CenterNetHead: 'heatmap_out'}
    bias = model.heatmap_out.bias if kind is CenterNetHead else model.get_submodule(out[kind]).bias
    assert bias.sigmoid().tolist() == pytest.approx([case.prior] * 4)
    with pytest.raises(ConfigError, match="has no key 'score_th'"):
        kind(num_classes=4, in_channels=8, test_cfg=dict(score_th=0.1))


def assert_detections(found, image: int, expected: list[tuple]) -> None:
    """The same (box, score, label, level), in this order."""
    count = int(found.valid[image].sum())
    assert count == len(expected) > 5 and found.valid[image, :count].all()
    for row, (box, score, label, level) in enumerate(expected):
        np.testing.assert_allclose(found.boxes[image, row], box, rtol=1e-4, atol=1e-3)
        assert found.scores[image, row].item() == pytest.approx(score, rel=1e-4)
        assert (found.labels[image, row], found.levels[image, row]) == (label, level)


# ---- FCOS


def fcos_targets_of(gt) -> tuple[Tensor, Tensor]:
    points = [grid_points(SIZES[s], s, torch.device('cpu')) for s in STRIDES]
    return fcos_targets(points, distance_ranges(STRIDES), gt, CLASSES)


def test_both_ends_of_a_range_belong_to_it():
    """The point (4, 4) of stride 8 and (8, 8) of stride 16, with a largest distance of 64."""
    gt = padded([[[0, 0, 68, 8]], [[0, 0, 72, 16]], [[0, 0, 68.01, 8]]], [[0], [1], [2]])
    labels, _ = fcos_targets_of(gt)
    fine, coarse = CELLS.index((4, 4, 8)), CELLS.index((8, 8, 16))
    assert labels[:, fine].tolist() == [0, CLASSES, CLASSES] and labels[1, coarse] == 1
    assert distance_ranges([8, 16], reach=2.5) == [(-1, 20), (20, 1e8)]


def test_a_point_on_the_border_is_outside_and_the_smallest_object_wins():
    labels, _ = fcos_targets_of(
        padded([[[4, 0, 20, 20], [0, 0, 40, 40], [8, 8, 18, 18]]], [[0, 1, 2]])
    )
    at = {cell[:2]: int(label) for cell, label in zip(CELLS[:96], labels[0], strict=False)}
    assert at[4, 4] == 1 and at[12, 4] == 0 and at[12, 12] == 2


def test_the_released_normalizer_weighs_points_equally():
    model, feats = fcos_head(normalizer='batch'), maps(STRIDES, 16)
    objects, gt = batch_of(4, 9)
    counts = (fcos_targets_of(gt)[0] < CLASSES).sum(1).tolist()
    losses = [fcos_losses(model, feats, i, objects[i])['loss_cls'] * counts[i] for i in (0, 1)]
    found = model.losses(feats, gt, shapes(2))['loss_cls'].item()
    assert found == pytest.approx(sum(losses) / sum(counts), rel=1e-4)
    with pytest.raises(ConfigError, match=r"normalizer='frame'.*'image', 'batch'"):
        fcos_head(normalizer='frame').losses(feats, gt, shapes(2))


@pytest.mark.parametrize('levels', [None, (2, 0)])
@torch.no_grad()
def test_fcos_detections_equal_a_loop(levels):
    model, feats = fcos_head(), maps(STRIDES, 16)
    found, every = model.find(feats, shapes(2), levels=levels).detections, model(feats)
    for i in (0, 1):
        candidates = []
        for level in levels or range(5):
            outputs = arrays([every[level]], 'logits distances centerness', i)
            points = [cell for cell in CELLS if cell[2] == STRIDES[level]]
            of_level = naive_dense.fcos_candidates(*outputs, points, IMAGE, 40, 0.5)
            candidates += [(*candidate, level) for candidate in of_level]
        assert_detections(found, i, naive_dense.suppressed(candidates, 0.5, 35))


@pytest.mark.parametrize('on_reg', [False, True])
@torch.no_grad()
def test_centerness_reads_the_tower_that_it_is_told_to(on_reg):
    model = fcos_head(centerness_on_reg=on_reg)
    feats, others = maps(STRIDES, 16), maps(STRIDES, 16, seed=5)
    expected = model(feats if on_reg else others)
    for mixed, one in zip(model(feats, others), expected, strict=True):
        assert torch.equal(mixed.centerness, one.centerness)


def test_names_of_early_checkpoints_are_understood():
    new = fcos_head()
    old = {k.replace('conv_c', 'fcos_c').replace('conv_r', 'fcos_r'): v + 1
           for k, v in new.state_dict().items()}  # fmt: skip
    assert 'fcos_cls.weight' in old and 'conv_cls.weight' not in old
    new.load_state_dict(old)
    assert torch.equal(new.conv_centerness.bias, old['fcos_centerness.bias'])


# ---- YOLOX


def sim_ota(scores, boxes, gt):
    points, strides = torch.tensor(YOLOX_CELLS).split([2, 1], dim=1)
    return SimOTAAssigner().assign(scores, boxes, points, strides[:, 0], gt)


@pytest.mark.parametrize('counts', [(1, 6), (10, 2), (0, 4), (20, 20)])
def test_sim_ota_equals_a_loop(counts):
    objects, gt = batch_of(*counts)
    rng = np.random.default_rng(9)
    scores = rng.uniform(0.01, 0.9, (2, len(YOLOX_CELLS), CLASSES))
    scores[:, ::7, 0], scores[:, 1::7, 1] = 0, 1
    centres = np.array([p[:2] for p in YOLOX_CELLS]) + rng.normal(0, 6, (2, len(YOLOX_CELLS), 2))
    half = rng.uniform(3, 25, centres.shape)
    boxes = np.concatenate([centres - half, centres + half], axis=2)
    found = sim_ota(torch.tensor(scores).float(), torch.tensor(boxes).float(), gt)
    for i in (0, 1):
        expected = naive_dense.sim_ota(scores[i], boxes[i], YOLOX_CELLS, objects[i])
        got = found.positive[i].nonzero().flatten().tolist()
        assert {p: int(found.objects[i, p]) for p in got} == expected
        ious = [naive_dense.iou(boxes[i, p], objects[i][0][k]) for p, k in sorted(expected.items())]
        assert found.ious[i, got].tolist() == pytest.approx(ious, abs=1e-5)
        assert (found.ious[i][~found.positive[i]] == 0).all()
    assert found.positive.sum() > 2


@pytest.mark.parametrize('boxes', [[], [[5000, 5000, 5010, 5010]]], ids=['none', 'nowhere near'])
def test_an_object_that_no_point_is_near_is_left_out(boxes):
    zeros = torch.zeros(1, len(YOLOX_CELLS), 4)
    assigned = sim_ota(zeros[..., :3], zeros, padded([boxes], [[0] * len(boxes)]))
    assert not assigned.positive.any() and assigned.ious.sum() == 0


@pytest.mark.parametrize('levels', [None, (1, 0)])
@torch.no_grad()
def test_yolox_detections_equal_a_loop(levels):
    model, feats = yolox_head(), maps(STRIDES[:3], 16)
    found, every = model.find(feats, shapes(2), levels=levels).detections, model(feats)
    for i in (0, 1):
        candidates = []
        for level in levels or range(3):
            logits, raw, objectness = arrays([every[level]], 'logits raw objectness', i)
            points = [cell for cell in CELLS if cell[2] == STRIDES[level]]
            scores = naive_dense.sigmoid(logits) * naive_dense.sigmoid(objectness)[:, None]
            for box, row in zip(naive_dense.yolox_boxes(raw, points), scores, strict=True):
                if row.max() >= 0.7:
                    candidates.append((np.array(box), row.max(), int(row.argmax()), level))
        assert_detections(found, i, naive_dense.suppressed(candidates, 0.5, 41))


# ---- CenterNet


def test_of_objects_in_one_cell_the_last_is_learnt():
    boxes = [[0, 0, 40, 40], [10, 10, 30, 30], [5, 5, 80, 50], [12, 12, 28, 28]]
    found = center_targets(padded([boxes], [[0, 1, 2, 0]]), (15, 22), 4, CLASSES)
    assert found.learnt[0, :4].tolist() == [False, False, True, True]
    assert found.cells[0, :4].tolist() == [5 * 22 + 5, 5 * 22 + 5, 6 * 22 + 10, 5 * 22 + 5]
    assert found.sizes[0, 2].tolist() == [75 / 4, 45 / 4]
    assert found.offsets[0, 2].tolist() == pytest.approx([42.5 / 4 - 10, 27.5 / 4 - 6])


@torch.no_grad()
def test_centernet_detections_are_the_best_peaks():
    model, feats = centernet_head(), maps([8], 16)
    found = model.find(feats, shapes(2)).detections
    for i in (0, 1):
        outputs = (x[i].double().numpy() for x in model(feats))
        peaks = naive_dense.centernet_peaks(*outputs, 8)
        assert len(peaks) > 12
        assert_detections(found, i, [(*peak, 0) for peak in peaks[:12]])
