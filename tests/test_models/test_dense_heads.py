"""What FCOS, YOLOX and CenterNet have in common; CenterNet against literal loops.

test_golden.py compares the others with another implementation, as wholes.
"""

import naive_dense
import numpy as np
import pytest
import torch
from dense_parts import IMAGE, SIZES, lively, maps, padded, shapes
from host_waits import CountHostWaits, static_nms
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.dense_heads import CenterNetHead, FCOSHead, YOLOXHead
from mmdet.models.dense_heads.fcos_targets import distance_ranges, fcos_targets
from mmdet.models.dense_heads.points import grid_points
from mmdet.models.task_modules import SimOTAAssigner, nms

CLASSES, STRIDES = 3, [8, 16, 32, 64, 128]
CELLS = [  # (x, y, stride) of FCOS; YOLOX has the first three levels
    ((j + 0.5) * s, (i + 0.5) * s, s) for s in STRIDES for i, j in np.ndindex(SIZES[s])
]
YOLOX_CELLS = [cell for cell in CELLS if cell[2] <= 32]
NMS = dict(nms=dict(type='nms', iou_threshold=0.5))


def fcos_head(**kwargs) -> FCOSHead:
    test_cfg = dict(NMS, nms_pre=40, score_thr=0.5, max_per_img=35)
    cfg = dict(feat_channels=16, stacked_convs=2, strides=STRIDES, test_cfg=test_cfg)
    model = lively(FCOSHead(CLASSES, 16, **cfg, **kwargs))
    for scale in model.scales:
        nn.init.normal_(scale.scale, 1.0, 0.2)
    nn.init.constant_(model.conv_reg.bias, 2.5)
    nn.init.normal_(model.conv_cls.bias, std=0.5)
    return model


def yolox_head() -> YOLOXHead:
    train_cfg = dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5))
    test_cfg = dict(NMS, score_thr=0.7, max_per_img=41)
    kwargs = dict(strides=STRIDES[:3], train_cfg=train_cfg, test_cfg=test_cfg)
    head = lively(YOLOXHead(CLASSES, 16, 16, **kwargs), std=2.0)
    for conv in (*head.multi_level_conv_cls, *head.multi_level_conv_obj):
        nn.init.constant_(conv.bias, 0.0)
    head.use_l1 = True
    return head.eval()  # batch norm as in testing, so that images do not mix


def centernet_head() -> CenterNetHead:
    test_cfg = dict(score_thr=0.0, max_per_img=12)
    model = lively(CenterNetHead(CLASSES, 16, 16, (8,), test_cfg=test_cfg), std=1.0)
    nn.init.constant_(model.wh_out.bias, 4.0)
    return model


def tensors(outputs) -> list[list[Tensor]]:
    """Of every level: class logits, what makes boxes, and the rest."""
    single = isinstance(outputs, tuple)
    return [outputs] if single else [list(vars(out).values()) for out in outputs]


CASES = {  # heads, and their losses that are 0 without objects
    'fcos': (fcos_head, {'loss_bbox', 'loss_centerness'}),
    'yolox': (yolox_head, {'loss_cls', 'loss_bbox', 'loss_l1'}),
    'centernet': (centernet_head, {'loss_wh', 'loss_offset'}),
}
LEVELS = {'fcos': STRIDES, 'yolox': STRIDES[:3], 'centernet': [8]}
each_head = pytest.mark.parametrize('name', CASES)


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


def losses_of_each(model, feats, objects: list) -> list[dict[str, Tensor]]:
    """Of every image alone."""
    alone = [[x[i : i + 1] for x in feats] for i in range(len(objects))]
    pairs = zip(alone, objects, strict=True)
    return [model.losses(own, padded(*zip(one, strict=True)), shapes(1)) for own, one in pairs]


@each_head
def test_losses_of_a_batch_are_the_mean_of_those_of_each_image(name):
    model, feats = CASES[name][0](), maps(LEVELS[name], 16)
    objects, gt = batch_of(4, 9, inside=name == 'centernet')
    first, second = losses_of_each(model, feats, objects)
    for key, value in model.losses(feats, gt, shapes(2)).items():
        assert value.item() == pytest.approx((first[key] + second[key]).item() / 2, rel=1e-4)


@each_head
def test_without_objects_every_parameter_still_has_a_gradient(name):
    head, zero = CASES[name]
    model = head()
    losses = model.losses(maps(LEVELS[name], 16), padded([[], []], [[], []]), shapes(2))
    assert {key for key, value in losses.items() if value == 0} == zero
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@each_head
@torch.no_grad()
def test_other_maps_for_classes_leave_the_rest_alone(name):
    model, strides = CASES[name][0](), LEVELS[name]
    feats, others = maps(strides, 16), maps(strides, 16, seed=5)
    outputs = [tensors(model(*given)) for given in ((feats, others), (feats,), (others,))]
    for mixed, plain, other in zip(*outputs, strict=True):
        assert torch.equal(mixed[0], other[0]) and torch.equal(mixed[1], plain[1])


@each_head
def test_nothing_makes_the_host_wait(name, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model, feats = CASES[name][0](), maps(LEVELS[name], 16)
    gt, sizes = batch_of(4, 0)[1], shapes(2)
    with CountHostWaits() as counter:
        found = model.find(feats, sizes).detections
        losses = model.losses(feats, gt, sizes)
    assert not +counter.waits
    assert found.valid.any() and all(loss.isfinite() for loss in losses.values())
    with pytest.raises(ConfigError, match="has no key 'score_th'"):
        type(model)(num_classes=4, in_channels=8, test_cfg=dict(score_th=0.1))


# ---- FCOS


def fcos_targets_of(gt) -> tuple[Tensor, Tensor]:
    points = [grid_points(SIZES[s], s, torch.device('cpu')) for s in STRIDES]
    return fcos_targets(points, distance_ranges(STRIDES), gt, CLASSES)


def test_both_ends_of_a_range_belong_to_it_and_the_border_of_an_object_does_not():
    """The point (4, 4) of stride 8 and (8, 8) of stride 16, with a largest distance of 64."""
    gt = padded([[[0, 0, 68, 8]], [[0, 0, 72, 16]], [[0, 0, 68.01, 8]]], [[0], [1], [2]])
    labels, _ = fcos_targets_of(gt)
    fine, coarse = CELLS.index((4, 4, 8)), CELLS.index((8, 8, 16))
    assert labels[:, fine].tolist() == [0, CLASSES, CLASSES] and labels[1, coarse] == 1
    assert distance_ranges([8, 16], reach=2.5) == [(-1, 20), (20, 1e8)]
    labels, _ = fcos_targets_of(padded([[[4, 0, 20, 20], [0, 0, 40, 40]]], [[0, 1]]))
    assert labels[0, fine] == 1 and labels[0, CELLS.index((12, 4, 8))] == 0


def test_the_released_normalizer_weighs_points_equally():
    feats, (objects, gt) = maps(STRIDES, 16), batch_of(4, 9)
    counts = (fcos_targets_of(gt)[0] < CLASSES).sum(1)
    each = torch.stack([x['loss_cls'] for x in losses_of_each(fcos_head(), feats, objects)])
    found = fcos_head(normalizer='batch').losses(feats, gt, shapes(2))['loss_cls']
    torch.testing.assert_close(found, (each * counts).sum() / counts.sum())
    with pytest.raises(ConfigError, match=r"normalizer='frame'.*'image', 'batch'"):
        fcos_head(normalizer='frame').losses(feats, gt, shapes(2))


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


# ---- YOLOX and CenterNet


@pytest.mark.parametrize('boxes', [[], [[5000, 5000, 5010, 5010]]], ids=['none', 'nowhere near'])
def test_an_object_that_no_point_is_near_is_left_out(boxes):
    zeros, gt = torch.zeros(1, len(YOLOX_CELLS), 4), padded([boxes], [[0] * len(boxes)])
    points, strides = torch.tensor(YOLOX_CELLS).split([2, 1], dim=1)
    assigned = SimOTAAssigner().assign(zeros[..., :3], zeros, points, strides[:, 0], gt)
    assert not assigned.positive.any() and assigned.ious.sum() == 0


@pytest.mark.parametrize('counts', [(4, 9), (0, 25)])
@torch.no_grad()
def test_centernet_losses_are_the_mean_of_what_a_loop_computes_for_each_image(counts):
    model, feats = centernet_head(), maps([8], 16)
    objects, gt = batch_of(*counts, inside=True)
    outputs = [x.double().numpy() for x in model(feats)]
    expected = [
        naive_dense.centernet_losses(*(x[i] for x in outputs), objects[i], 8) for i in (0, 1)
    ]
    losses = model.losses(feats, gt, shapes(2))
    assert set(losses) == set(expected[0])
    for key, value in losses.items():
        assert value.item() == pytest.approx((expected[0][key] + expected[1][key]) / 2, rel=1e-4)


@torch.no_grad()
def test_centernet_detections_are_the_best_peaks():
    model, feats = centernet_head(), maps([8], 16)
    found = model.find(feats, shapes(2)).detections
    assert found.valid.all() and not found.levels.any()
    for i in (0, 1):
        outputs = (x[i].double().numpy() for x in model(feats))
        peaks = naive_dense.centernet_peaks(*outputs, 8)[:12]
        for row, (box, score, label) in enumerate(peaks):
            np.testing.assert_allclose(found.boxes[i, row], box, rtol=1e-4, atol=1e-3)
            assert found.scores[i, row].item() == pytest.approx(score, rel=1e-4)
            assert found.labels[i, row] == label
