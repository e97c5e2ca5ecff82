"""The parts of Faster R-CNN where a batch or a setting matters; test_literal_faster_rcnn.py has the
whole."""

import math

import naive
import numpy as np
import pytest
import torch
from dense_parts import padded, proposals
from tiny_detector import tiny_detector
from torchvision.ops import roi_align

from mmdet.models.dense_heads import RPNHead
from mmdet.models.dense_heads.rpn_head import Proposals, proposal_settings
from mmdet.models.losses import CrossEntropyLoss, SmoothL1Loss
from mmdet.models.roi_heads import SingleRoIExtractor, StandardRoIHead

STDS, CLASSES = (0.2, 0.2, 0.2, 0.2), 30
SHAPE = (160, 192)


def rpn(border: int = -1, **options) -> RPNHead:
    """Of two levels with six anchors per cell."""
    anchors = {'rpn_head.anchor_generator': dict(strides=[16, 32], scales=[2, 4])}
    options = {**anchors, 'train_cfg.rpn.allowed_border': border, **options}
    return tiny_detector('fpn', options=options).rpn_head


# ---- proposals


@pytest.mark.parametrize(
    ('border', 'expected'),
    [
        (0, ([0, 1], [0, 1, 2, 4, 5], [0])),
        (5, ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 3])),
        (-1, ([0, 1, 2, 3, 4, 5],) * 3),
    ],
)
def test_anchors_outside_of_the_image_are_not_trained(border, expected):
    """The third one touches the right and bottom border of the first image."""
    rows = [[0, 0, 50, 50], [10, 10, 191.9, 159.9], [10, 10, 192, 160], [-1, 0, 50, 50]]
    anchors = torch.tensor([*rows, [10, 10, 197, 100], [10, 10, 100, 180]], dtype=torch.float32)
    shapes = torch.tensor([SHAPE, (500, 500), (51, 51)])
    samples, _ = rpn(border).targets(anchors, padded([[]] * 3, [[]] * 3, spare=2), shapes)
    assert not samples.positive.any()
    for indices, valid, own in zip(samples.indices, samples.valid, expected, strict=True):
        assert sorted(indices[valid].tolist()) == own


def random_outputs(head: RPNHead, images: int) -> tuple[list, list, list]:
    generator = torch.Generator().manual_seed(0)
    anchors = head.anchors((torch.zeros(images, 16, 10, 12), torch.zeros(images, 16, 5, 6)))
    logits = [torch.randn(images, len(a), generator=generator) for a in anchors]
    deltas = [torch.randn(images, *a.shape, generator=generator) * 0.3 for a in anchors]
    return logits, deltas, anchors


@pytest.mark.parametrize(('min_bbox_size', 'max_per_img'), [(0, 80), (30, 80), (0, 400)])
def test_proposals_of_every_image_equal_a_loop(min_bbox_size, max_per_img):
    head, shapes = rpn(), [SHAPE, (100, 192), (160, 90)]
    cfg = dict(nms_pre=200, max_per_img=max_per_img, nms=dict(iou_threshold=0.6))
    cfg['min_bbox_size'] = min_bbox_size
    outputs = random_outputs(head, 3)
    found = head.propose(*outputs, torch.tensor(shapes), proposal_settings(cfg, 'test_cfg.rpn'))
    assert found.boxes.shape == (3, max_per_img, 4)
    assert found.valid[0].all() == (max_per_img == 80)
    for i, shape in enumerate(shapes):
        levels = [(x[i].sigmoid().numpy(), d[i].numpy(), a.numpy()) for x, d, a in zip(*outputs)]  # noqa: B905
        expected = naive.propose(levels, shape, cfg)
        count = len(expected)
        assert found.valid[i].tolist() == [n < count for n in range(max_per_img)]
        np.testing.assert_allclose(found.boxes[i, :count].numpy(), expected[:, :4], atol=1e-3)
        np.testing.assert_allclose(found.scores[i, :count].numpy(), expected[:, 4], atol=1e-6)
        assert (found.boxes[i, count:] == 0).all() and (found.scores[i, count:] == 0).all()


def test_proposals_of_no_size_are_dropped_and_none_may_be_left():
    head = rpn()
    logits, deltas, anchors = random_outputs(head, 2)
    for delta in deltas:
        delta[1, :, 0] = 1e4  # everything of the second image ends on the right border
    cfg = proposal_settings(dict(nms_pre=9, max_per_img=9, nms=dict(iou_threshold=0.7)), 'rpn')
    found = head.propose(logits, deltas, anchors, torch.tensor([SHAPE, SHAPE]), cfg)
    assert found.valid.tolist() == [[True] * 9, [False] * 9]
    assert (found.boxes[1] == 0).all() and torch.isfinite(found.scores).all()


def test_proposals_see_the_maps_they_are_given():
    strides = {'rpn_head.anchor_generator': dict(strides=[16])}
    head, alone = rpn(**strides, **{'rpn_head.maps': [1]}), rpn(**strides)
    alone.load_state_dict(head.state_dict())
    feats = torch.rand(1, 8, 2, 2), torch.rand(1, 16, 3, 5)
    assert torch.equal(head(feats)[0][0], alone(feats[1:])[0][0])
    assert [len(x) for x in head.anchors(feats)] == [3 * 5 * 3]


# ---- features of regions


BOXES = {  # on a map of 72 x 104 pixels
    'inside': [10.3, 8.1, 70.9, 50.2],
    'whole map': [0, 0, 104, 72],
    'over the left and top border': [-30, -20, 25, 30],
    'over the right and bottom border': [80, 50, 140, 110],
    'outside': [200, 150, 260, 190],
    'far beyond on one side': [-500, 20, 600, 40],
    'smaller than a cell': [33.3, 17.2, 35.1, 18.4],
    'no size': [40, 30, 40, 30],
    'no width': [40, 30, 40, 60],
}


def extractor(strides: list[int], sampling_ratio: int, **kwargs) -> SingleRoIExtractor:
    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=sampling_ratio)
    layer['aligned'] = kwargs.pop('aligned', True)
    return SingleRoIExtractor(layer, out_channels=3, featmap_strides=strides, **kwargs)


@pytest.mark.parametrize('sampling_ratio', [2, 0])
def test_features_of_regions_equal_a_loop_on_the_level_of_their_size(sampling_ratio):
    rng = np.random.default_rng(0)
    maps = {8: rng.normal(size=(3, 9, 13)), 16: rng.normal(size=(3, 5, 7))}
    feats = [torch.tensor(x[None], dtype=torch.float32) for x in maps.values()]
    boxes = torch.tensor([list(BOXES.values())], dtype=torch.float32)
    found = extractor([8, 16], sampling_ratio, finest_scale=26)(feats, boxes)
    for name, box, feature in zip(BOXES, BOXES.values(), found[0], strict=True):
        stride = 16 if math.sqrt((box[2] - box[0]) * (box[3] - box[1])) >= 52 else 8
        expected = naive.roi_align(maps[stride], box, stride, sampling_ratio)
        np.testing.assert_allclose(feature.numpy(), expected, atol=2e-4, err_msg=name)


def test_level_of_a_square():
    level_of = {
        0: 0,
        1: 0,
        111.99: 0,
        111.99995: 1,
        112: 1,
        223.9: 1,
        224: 2,
        447: 2,
        448: 3,
        1e4: 3,
    }
    boxes = torch.tensor([[0.0, 0, side, side] for side in level_of])
    assert extractor([4, 8, 16, 32], 0).levels(boxes).tolist() == list(level_of.values())


def test_regions_without_the_half_pixel_from_the_second_map():
    feats = tuple(torch.rand(1, 3, 9, 11) for _ in range(2))
    low = torch.rand(1, 5, 2) * 60
    boxes = torch.cat([low, low + torch.rand(1, 5, 2) * 80], dim=2)
    found = extractor([16], 0, first_map=1, aligned=False)(feats, boxes)
    assert torch.equal(found[0], roi_align(feats[1], [boxes[0]], 7, 1 / 16, 0, aligned=False))


def test_regions_stay_float32_under_autocast():
    feature = torch.rand(1, 3, 60, 80).bfloat16()
    boxes = torch.tensor([[[1001.0, 700, 1013, 709]]])  # half precision has no such odd numbers
    with torch.autocast('cpu', torch.bfloat16):
        found = extractor([16], 2)((feature,), boxes)
    assert found.dtype == torch.float32
    assert torch.equal(found, extractor([16], 2)((feature.float(),), boxes))


# ---- the second stage


def roi_head(add_gt_as_proposals: bool = True) -> StandardRoIHead:
    options = {'train_cfg.rcnn.sampler.add_gt_as_proposals': add_gt_as_proposals}
    return tiny_detector('dc5', options=options, unlimited=True).roi_head


def test_features_are_flattened_channel_row_column():
    head, x = roi_head().bbox_head, torch.rand(4, 16, 7, 7)
    flat = torch.stack([x[:, c, i, j] for c, i, j in np.ndindex(16, 7, 7)], dim=1)
    for fc in head.shared_fcs:
        flat = (flat @ fc.weight.T + fc.bias).clamp(min=0)
    logits, deltas = (y[0] for y in head.classify(head.first_layer(x[None]))[:2])
    torch.testing.assert_close(logits, flat @ head.fc_cls.weight.T + head.fc_cls.bias)
    torch.testing.assert_close(deltas, flat @ head.fc_reg.weight.T + head.fc_reg.bias)
    assert (logits.shape, deltas.shape) == ((4, CLASSES + 1), (4, 4 * CLASSES))


@pytest.mark.parametrize('with_gt', [True, False])
def test_ground_truth_is_a_candidate_where_the_sampler_says_so(with_gt):
    objects = {3: [10.0, 10, 50, 60], 0: [80.0, 20, 150, 100]}
    rows = [[12.0, 12, 52, 62], [200, 0, 250, 50], [85, 20, 150, 100], [0, 100, 9, 150]]
    given = torch.tensor([[*row, 0.9] for row in rows])
    gt = padded([[*objects.values()], []], [[*objects], []], spare=2)
    found = roi_head(with_gt).targets(proposals(given, given[:1]), gt)
    boxes, labels, targets, weights = found
    used, positive = weights > 0, labels < CLASSES
    assert sorted(boxes[0][used[0]].tolist()) == sorted(rows + [*objects.values()] * with_gt)
    assert boxes[1][used[1]].tolist() == rows[:1]
    assert (boxes[~used] == 0).all() and (labels[~used] == CLASSES).all()
    assert (targets[~positive] == 0).all() and positive.sum() == 2 + 2 * with_gt
    for box, label, target in zip(*(x[positive] for x in found[:3]), strict=True):
        offset = naive.encode(box.double().numpy(), np.array(objects[label.item()])) / STDS
        np.testing.assert_allclose(target.numpy(), offset, atol=1e-5)


def test_a_score_must_be_above_the_threshold():
    head = roi_head()
    logits = torch.tensor([[[0.25, 0.26] + [0.49 / 29] * 29]]).log()
    head.test_cfg['score_thr'] = logits.softmax(dim=2)[0, 0, 0].item()
    given = Proposals(torch.tensor([[[0.0, 0, 9, 9]]]), torch.ones(1, 1), torch.ones(1, 1).bool())
    found = head.detections(logits, torch.zeros(1, 1, 4 * CLASSES), given, torch.tensor([[50, 50]]))
    assert found.labels[found.valid].tolist() == [1]


@pytest.mark.parametrize('loss', [CrossEntropyLoss, SmoothL1Loss])
def test_losses_are_weighted_and_float32(loss):
    pred, weight = torch.rand(3, 4).bfloat16(), torch.rand(3)
    target = torch.rand(3, 4) if loss is SmoothL1Loss else torch.tensor([0, 1, 3])
    thrice = loss(loss_weight=3.0)(pred, target, weight)
    assert thrice.dtype == torch.float32
    assert thrice.item() == pytest.approx(3 * loss()(pred.float(), target, weight).item())
