import math

import naive
import numpy as np
import pytest
import torch
from padded import ground_truth, image_of

from mmdet.core.errors import ConfigError
from mmdet.models.dense_heads import RPNHead
from mmdet.models.dense_heads.rpn_head import Proposals, proposal_settings

ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
SHAPE = (160, 192)
SHAPES = torch.tensor([SHAPE])
OBJECTS = ([[10, 12, 70, 60], [100, 40, 180, 150]], [3, 0])
NOTHING: tuple[list, list] = ([], [])
MAPS = [(10, 12), (5, 6)]  # at strides 16 and 32


def rpn(num: int = 256, strides: tuple[int, ...] = (16, 32), border: int = -1, **train) -> RPNHead:
    sampler = dict(type='RandomSampler', num=num, pos_fraction=0.5, add_gt_as_proposals=False)
    return RPNHead(
        in_channels=4,
        feat_channels=4,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2, 4], ratios=[0.5, 1, 2], strides=list(strides)
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9),
        train_cfg=dict(assigner=ASSIGNER, sampler=sampler, allowed_border=border, **train),
    )


def constant_outputs(head: RPNHead, images: int) -> tuple[list, list, list]:
    """Logits and offsets of zero: every anchor costs ln 2, and its target's offsets."""
    anchors = head.anchors(tuple(torch.zeros(images, 4, *size) for size in MAPS))
    logits = [torch.zeros(images, len(a)) for a in anchors]
    return logits, [torch.zeros(images, len(a), 4) for a in anchors], anchors


def test_outputs_follow_the_order_of_the_anchors():
    head = rpn()
    feats = tuple(torch.rand(2, 4, *size) for size in MAPS)
    logits, deltas = head(feats)
    for level, (height, width) in enumerate(MAPS):
        hidden = head.rpn_conv(feats[level]).relu()
        scores, offsets = head.rpn_cls(hidden), head.rpn_reg(hidden)
        for y, x, a in [(0, 0, 0), (1, 2, 3), (height - 1, width - 1, 5)]:
            index = (y * width + x) * 6 + a
            assert logits[level][1, index] == scores[1, a, y, x]
            assert torch.equal(deltas[level][1, index], offsets[1, 4 * a : 4 * a + 4, y, x])
    assert [len(a) for a in head.anchors(feats)] == [x.shape[1] for x in logits] == [720, 180]


def test_without_ground_truth_256_negatives_are_divided_by_257():
    head = rpn()
    losses = head.loss(*constant_outputs(head, 1), ground_truth(NOTHING), SHAPES)
    assert losses['loss_rpn_cls'].item() == pytest.approx(256 * math.log(2) / 257, rel=1e-6)
    assert losses['loss_rpn_bbox'].item() == 0


def test_both_losses_are_divided_by_all_sampled_anchors():
    head = rpn()
    gt = ground_truth(OBJECTS)
    *_, anchors = constant_outputs(head, 1)
    samples, targets = head.targets(torch.cat(anchors), gt, SHAPES)
    assert samples.positive.sum() > 1 and samples.valid.sum() == 256
    losses = head.loss(*constant_outputs(head, 1), gt, SHAPES)
    assert losses['loss_rpn_cls'].item() == pytest.approx(math.log(2), rel=1e-6)
    expected = naive.smooth_l1(targets[samples.positive].numpy(), 1 / 9) / 256
    assert losses['loss_rpn_bbox'].item() == pytest.approx(expected, rel=1e-5)


def test_loss_of_a_batch_is_the_mean_of_its_images():
    head = rpn(num=10**6, border=0)
    torch.manual_seed(0)
    feats = tuple(torch.rand(3, 4, *size) for size in MAPS)
    logits, deltas = head(feats)
    anchors = head.anchors(feats)
    gt = ground_truth(OBJECTS, NOTHING, ([[30, 30, 90, 90]], [2]))
    shapes = torch.tensor([SHAPE, (150, 180), (120, 192)])
    together = head.loss(logits, deltas, anchors, gt, shapes)
    single = []
    for i in range(3):
        own = slice(i, i + 1)
        outputs = [x[own] for x in logits], [x[own] for x in deltas]
        single.append(head.loss(*outputs, anchors, image_of(gt, i), shapes[own]))
    for name, value in together.items():
        mean = sum(losses[name] for losses in single) / 3
        assert value.item() == pytest.approx(mean.item(), rel=1e-5)


@pytest.mark.parametrize(('border', 'expected'), [(0, [0, 1]), (5, [0, 1, 2, 3]), (-1, range(6))])
def test_anchors_outside_of_the_image_are_not_trained(border, expected):
    anchors = torch.tensor(
        [
            [0.0, 0, 50, 50],
            [10, 10, 191.9, 159.9],
            [10, 10, 192, 160],  # touches the right and bottom border
            [-1, 0, 50, 50],
            [10, 10, 197, 100],
            [10, 10, 100, 180],
        ]
    )
    shapes = torch.tensor([SHAPE, (500, 500), (51, 51)])
    samples, _ = rpn(border=border).targets(anchors, ground_truth(*[NOTHING] * 3), shapes)
    assert not samples.positive.any()
    chosen = [sorted(i[v].tolist()) for i, v in zip(samples.indices, samples.valid, strict=True)]
    assert chosen[0] == list(expected)
    inside = {0: [0], 5: [0, 3], -1: list(range(6))}
    assert chosen[2] == inside[border]
    assert chosen[1] == [i for i in range(6) if i != 3 or border]


def test_targets_refer_to_all_anchors_also_when_some_are_outside():
    head = rpn(border=0, num=10**6)
    anchors = torch.tensor([[-5.0, 0, 20, 20], [20, 20, 60, 60], [100, 100, 140, 140]])
    gt = ground_truth(([[22.0, 20, 62, 60]], [0]))
    samples, targets = head.targets(anchors, gt, SHAPES)
    assert samples.indices[samples.valid].tolist() == [1, 2]
    assert samples.positive[samples.valid].tolist() == [True, False]
    expected = torch.tensor([[2 / 40, 0, 0, 0]])
    torch.testing.assert_close(targets[samples.positive], expected, atol=1e-6, rtol=0)


def random_outputs(head: RPNHead, images: int) -> tuple[list, list, list]:
    generator = torch.Generator().manual_seed(0)
    logits, deltas, anchors = constant_outputs(head, images)
    logits = [torch.randn(x.shape, generator=generator) for x in logits]
    return logits, [torch.randn(x.shape, generator=generator) * 0.3 for x in deltas], anchors


def propose(head: RPNHead, outputs: tuple[list, list, list], shapes: list, **cfg) -> Proposals:
    cfg = dict(nms_pre=9, max_per_img=9, nms=dict(iou_threshold=0.7)) | cfg
    settings = proposal_settings(cfg, 'test_cfg.rpn')
    return head.propose(*outputs, torch.tensor(shapes), settings)


@pytest.mark.parametrize(('min_bbox_size', 'max_per_img'), [(0, 80), (30, 80), (0, 400)])
def test_proposals_of_every_image_equal_a_loop(min_bbox_size, max_per_img):
    head, shapes = rpn(), [SHAPE, (100, 192), (160, 90)]
    cfg = dict(
        nms_pre=200,
        max_per_img=max_per_img,
        nms=dict(iou_threshold=0.6),
        min_bbox_size=min_bbox_size,
    )
    logits, deltas, anchors = random_outputs(head, 3)
    found = propose(head, (logits, deltas, anchors), shapes, **cfg)
    assert found.boxes.shape == (3, max_per_img, 4)
    for i, shape in enumerate(shapes):
        levels = [
            (logit[i].sigmoid().numpy(), delta[i].numpy(), anchor.numpy())
            for logit, delta, anchor in zip(logits, deltas, anchors, strict=True)
        ]
        expected = naive.propose(levels, shape, cfg)
        count = len(expected)
        assert found.valid[i].tolist() == [n < count for n in range(max_per_img)]
        np.testing.assert_allclose(found.boxes[i, :count].numpy(), expected[:, :4], atol=1e-3)
        np.testing.assert_allclose(found.scores[i, :count].numpy(), expected[:, 4], atol=1e-6)
        assert (found.boxes[i, count:] == 0).all() and (found.scores[i, count:] == 0).all()
    assert found.valid[0].all() == (max_per_img == 80)


def test_proposals_of_no_size_are_dropped_and_none_may_be_left():
    head = rpn()
    logits, deltas, anchors = random_outputs(head, 2)
    for delta in deltas:
        delta[1, :, 0] = 1e4  # everything of the second image ends on the right border
    found = propose(head, (logits, deltas, anchors), [SHAPE, SHAPE])
    assert found.valid.tolist() == [[True] * 9, [False] * 9]
    assert (found.boxes[1] == 0).all() and torch.isfinite(found.scores).all()


def test_the_best_proposals_come_first():
    found = propose(rpn(), random_outputs(rpn(), 2), [SHAPE, SHAPE])
    assert (found.scores.diff(dim=1) <= 0).all()
    few = found.best(4)
    assert torch.equal(few.boxes, found.boxes[:, :4]) and few.valid.shape == (2, 4)
    assert found.best(None).boxes.shape == found.boxes.shape


def test_proposals_carry_no_gradient():
    head = rpn()
    feats = tuple(torch.rand(1, 4, *size, requires_grad=True) for size in MAPS)
    outputs = (*head(feats), head.anchors(feats))
    assert not propose(head, outputs, [SHAPE]).boxes.requires_grad


def test_initial_weights():
    head = rpn()
    big = torch.cat([p.flatten() for n, p in head.named_parameters() if 'weight' in n])
    assert big.std().item() == pytest.approx(0.01, rel=0.15)
    assert all((p == 0).all() for n, p in head.named_parameters() if 'bias' in n)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(allowed_boarder=0), r"has no key 'allowed_boarder'.*Did you mean 'allowed_border'"),
        (dict(pos_weight=5), r'`train_cfg.rpn.pos_weight` is 5: only -1 is supported'),
        (dict(debug=True), r'`train_cfg.rpn.debug` is True: only False is supported'),
    ],
)
def test_training_settings_that_would_be_ignored_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        rpn(**settings)
    rpn(pos_weight=-1, debug=False)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(nms_post=1), r"`test_cfg.rpn` has no key 'nms_post'"),
        (dict(max_per_img=None), r"`test_cfg.rpn` lacks the key 'max_per_img'"),
        (dict(nms=dict(iou_thr=0.7)), r"`test_cfg.rpn.nms` has no key 'iou_thr'.*iou_thres"),
        (
            dict(nms=dict(type='soft_nms', iou_threshold=0.7)),
            r"nms.type` is 'soft_nms'. Known: nms",
        ),
    ],
)
def test_proposal_settings_that_would_be_ignored_are_refused(settings, message):
    cfg = dict(nms_pre=1, max_per_img=1, nms=dict(iou_threshold=0.7)) | settings
    with pytest.raises(ConfigError, match=message):
        proposal_settings({k: v for k, v in cfg.items() if v is not None}, 'test_cfg.rpn')
