"""The box head and the second stage around it; as a whole they are in test_literal_faster_rcnn."""

import naive
import numpy as np
import pytest
import torch
from padded import ground_truth, proposals

from mmdet.models.dense_heads.rpn_head import Proposals
from mmdet.models.roi_heads import Shared2FCBBoxHead, StandardRoIHead

STDS = (0.1, 0.1, 0.2, 0.2)
CLASSES = 5
ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
HEAD = dict(
    type='Shared2FCBBoxHead',
    in_channels=3,
    roi_feat_size=2,
    fc_out_channels=16,
    num_classes=CLASSES,
    bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=STDS),
    loss_cls=dict(type='CrossEntropyLoss'),
    loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9),
)
TEST = dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20)


def bbox_head() -> Shared2FCBBoxHead:
    torch.manual_seed(0)
    return Shared2FCBBoxHead(**{k: v for k, v in HEAD.items() if k != 'type'})


def roi_head() -> StandardRoIHead:
    torch.manual_seed(0)
    return StandardRoIHead(
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=2, sampling_ratio=2),
            out_channels=3,
            featmap_strides=[16],
        ),
        bbox_head=HEAD,
        train_cfg=dict(
            assigner=ASSIGNER, sampler=dict(type='RandomSampler', num=10**6, pos_fraction=0.25)
        ),
        test_cfg=TEST,
    )


GT = ([[10, 10, 50, 60], [80, 20, 150, 100]], [3, 0])
NOTHING: tuple[list, list] = ([], [])
PROPOSALS = torch.tensor(
    [
        [12.0, 12, 52, 62, 0.9],
        [200, 0, 250, 50, 0.8],
        [85, 20, 150, 100, 0.7],
        [0, 100, 9, 150, 0.1],
    ]
)


def test_features_are_flattened_channel_row_column():
    head, x = bbox_head(), torch.rand(4, 3, 2, 2)
    flat = torch.stack(
        [x[:, c, row, column] for c in range(3) for row in range(2) for column in range(2)], dim=1
    )
    for fc in head.shared_fcs:
        flat = (flat @ fc.weight.T + fc.bias).clamp(min=0)
    logits, deltas = (y[0] for y in head.classify(head.rows(x[None]))[:2])
    torch.testing.assert_close(logits, flat @ head.fc_cls.weight.T + head.fc_cls.bias)
    torch.testing.assert_close(deltas, flat @ head.fc_reg.weight.T + head.fc_reg.bias)
    assert (logits.shape, deltas.shape) == ((4, CLASSES + 1), (4, 4 * CLASSES))


@pytest.mark.parametrize('with_gt', [True, False])
def test_ground_truth_is_a_candidate_where_the_sampler_says_so(with_gt):
    head, gt = roi_head(), ground_truth(GT, NOTHING)
    head.sampler.add_gt_as_proposals = with_gt
    boxes, labels, targets, weights = head.targets(proposals(PROPOSALS, PROPOSALS[:1]), gt)
    used, positive = weights > 0, labels < CLASSES
    expected = [*map(tuple, PROPOSALS[:, :4].tolist())]
    expected += [tuple(map(float, box)) for box in GT[0]] if with_gt else []
    assert sorted(map(tuple, boxes[0][used[0]].tolist())) == sorted(expected)
    assert boxes[1][used[1]].tolist() == PROPOSALS[:1, :4].tolist()
    assert (boxes[~used] == 0).all() and (labels[~used] == CLASSES).all()
    assert (targets[~positive] == 0).all()
    for box, label, target in zip(*(x[positive] for x in (boxes, labels, targets)), strict=True):
        own = {3: [10, 10, 50, 60], 0: [80, 20, 150, 100]}[label.item()]
        offset = naive.encode(box.double().numpy(), np.array(own)) / STDS
        np.testing.assert_allclose(target.numpy(), offset, atol=1e-5)
    assert labels[positive].tolist().count(3) == 1 + with_gt


def test_a_score_must_be_above_the_threshold():
    head = roi_head()
    logits = torch.tensor([[[0.25, 0.26, 0.09, 0.1, 0.1, 0.2]]]).log()
    head.test_cfg['score_thr'] = logits.softmax(dim=2)[0, 0, 0].item()
    given = Proposals(torch.tensor([[[0.0, 0, 9, 9]]]), torch.ones(1, 1), torch.ones(1, 1).bool())
    found = head.detections(logits, torch.zeros(1, 1, 20), given, torch.tensor([[50, 50]]))
    assert found.labels[found.valid].tolist() == [1]
