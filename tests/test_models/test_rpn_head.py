import naive
import numpy as np
import pytest
import torch
from padded import ground_truth

from mmdet.models.dense_heads import RPNHead
from mmdet.models.dense_heads.rpn_head import Proposals, proposal_settings

ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
SHAPE = (160, 192)
NOTHING: tuple[list, list] = ([], [])
MAPS = [(10, 12), (5, 6)]  # at strides 16 and 32


def rpn(border: int = -1) -> RPNHead:
    sampler = dict(type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False)
    return RPNHead(
        in_channels=4,
        feat_channels=4,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2, 4], ratios=[0.5, 1, 2], strides=[16, 32]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9),
        train_cfg=dict(assigner=ASSIGNER, sampler=sampler, allowed_border=border),
    )


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


def random_outputs(head: RPNHead, images: int) -> tuple[list, list, list]:
    generator = torch.Generator().manual_seed(0)
    anchors = head.anchors(tuple(torch.zeros(images, 4, *size) for size in MAPS))
    logits = [torch.randn(images, len(a), generator=generator) for a in anchors]
    deltas = [torch.randn(images, *a.shape, generator=generator) * 0.3 for a in anchors]
    return logits, deltas, anchors


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
