import math

import naive
import numpy as np
import pytest
import torch

from mmdet.core.errors import ConfigError
from mmdet.models.batch import GroundTruth
from mmdet.models.dense_heads import RPNHead
from mmdet.models.dense_heads.rpn_head import proposal_settings

ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
SHAPE = (160, 192)
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


def ground_truth(*boxes: list[float]) -> GroundTruth:
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return GroundTruth(rows, torch.zeros(len(rows), dtype=torch.long))


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
    losses = head.loss(*constant_outputs(head, 1), [ground_truth()], [SHAPE])
    assert losses['loss_rpn_cls'].item() == pytest.approx(256 * math.log(2) / 257, rel=1e-6)
    assert losses['loss_rpn_bbox'].item() == 0


def test_both_losses_are_divided_by_all_sampled_anchors():
    head = rpn()
    gt = ground_truth([10, 12, 70, 60], [100, 40, 180, 150])
    *_, anchors = constant_outputs(head, 1)
    pos, neg, targets = head.targets(torch.cat(anchors), gt.boxes, SHAPE)
    assert len(pos) > 1 and len(pos) + len(neg) == 256
    losses = head.loss(*constant_outputs(head, 1), [gt], [SHAPE])
    assert losses['loss_rpn_cls'].item() == pytest.approx(math.log(2), rel=1e-6)
    expected = naive.smooth_l1(targets.numpy(), 1 / 9) / 256
    assert losses['loss_rpn_bbox'].item() == pytest.approx(expected, rel=1e-5)


def test_loss_of_two_images_is_the_mean_of_both():
    head = rpn(num=10**6)
    torch.manual_seed(0)
    feats = tuple(torch.rand(2, 4, *size) for size in MAPS)
    logits, deltas = head(feats)
    anchors = head.anchors(feats)
    gts = [ground_truth([10, 12, 70, 60], [100, 40, 180, 150]), ground_truth()]
    shapes = [SHAPE, (150, 180)]
    both = head.loss(logits, deltas, anchors, gts, shapes)
    single = [
        head.loss([x[i : i + 1] for x in logits], [x[i : i + 1] for x in deltas], anchors,
                  [gts[i]], [shapes[i]])
        for i in range(2)
    ]  # fmt: skip
    for name, value in both.items():
        mean = (single[0][name] + single[1][name]) / 2
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
    _, neg, _ = rpn(border=border).targets(anchors, torch.zeros(0, 4), SHAPE)
    assert neg.tolist() == list(expected)


def test_targets_refer_to_all_anchors_also_when_some_are_outside():
    head = rpn(border=0, num=10**6)
    anchors = torch.tensor([[-5.0, 0, 20, 20], [20, 20, 60, 60], [100, 100, 140, 140]])
    gt = torch.tensor([[22.0, 20, 62, 60]])
    pos, neg, targets = head.targets(anchors, gt, SHAPE)
    assert (pos.tolist(), neg.tolist()) == ([1], [2])
    torch.testing.assert_close(targets, torch.tensor([[2 / 40, 0, 0, 0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize('min_bbox_size', [0, 30])
def test_proposals_equal_a_loop(min_bbox_size):
    head = rpn()
    generator = torch.Generator().manual_seed(0)
    logits, deltas, anchors = constant_outputs(head, 1)
    logits = [torch.randn(x.shape, generator=generator) for x in logits]
    deltas = [torch.randn(x.shape, generator=generator) * 0.3 for x in deltas]
    cfg = dict(
        nms_pre=200, max_per_img=80, nms=dict(iou_threshold=0.6), min_bbox_size=min_bbox_size
    )
    found = head.propose(logits, deltas, anchors, [SHAPE], cfg)[0].numpy()
    levels = [
        (logit[0].sigmoid().numpy(), delta[0].numpy(), anchor.numpy())
        for logit, delta, anchor in zip(logits, deltas, anchors, strict=True)
    ]
    expected = naive.propose(levels, SHAPE, cfg)
    assert found.shape == expected.shape == (80, 5)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_proposals_of_no_size_are_dropped_and_none_may_be_left():
    head = rpn()
    logits, deltas, anchors = constant_outputs(head, 1)
    for delta in deltas:
        delta[..., 0] = 1e4  # everything ends on the right border
    cfg = proposal_settings(dict(nms_pre=9, max_per_img=9, nms=dict(iou_threshold=0.7)), 'x')
    assert head.propose(logits, deltas, anchors, [SHAPE], cfg)[0].shape == (0, 5)


def test_proposals_carry_no_gradient():
    head = rpn()
    feats = tuple(torch.rand(1, 4, *size, requires_grad=True) for size in MAPS)
    cfg = proposal_settings(dict(nms_pre=9, max_per_img=9, nms=dict(iou_threshold=0.7)), 'x')
    assert not head.propose(*head(feats), head.anchors(feats), [SHAPE], cfg)[0].requires_grad


def test_initial_weights():
    head = rpn()
    big = torch.cat([p.flatten() for n, p in head.named_parameters() if 'weight' in n])
    assert big.std().item() == pytest.approx(0.01, rel=0.15)
    assert all((p == 0).all() for n, p in head.named_parameters() if 'bias' in n)


def test_misspelt_settings_are_named():
    with pytest.raises(
        ConfigError, match=r"`train_cfg.rpn` has no key 'allowed_boarder'.*Did you mean"
    ):
        rpn(allowed_boarder=0)
    with pytest.raises(ConfigError, match=r"`test_cfg.rpn` has no key 'nms_post'"):
        proposal_settings(dict(nms_pre=1, nms_post=1, max_per_img=1, nms={}), 'test_cfg.rpn')
    with pytest.raises(ConfigError, match=r"`test_cfg.rpn` lacks the key 'max_per_img'"):
        proposal_settings(dict(nms_pre=1, nms={}), 'test_cfg.rpn')
    with pytest.raises(ConfigError, match=r"`test_cfg.rpn.nms` has no key 'iou_thr'.*iou_thres"):
        proposal_settings(dict(nms_pre=1, max_per_img=1, nms=dict(iou_thr=0.7)), 'test_cfg.rpn')
