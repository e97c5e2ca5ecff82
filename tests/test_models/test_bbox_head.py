"""The box head and the second stage around it."""

import math

import naive
import numpy as np
import pytest
import torch

from mmdet.core.errors import ConfigError
from mmdet.models.batch import GroundTruth
from mmdet.models.roi_heads import Shared2FCBBoxHead, StandardRoIHead
from mmdet.structures import Frame

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


def roi_head(num: int = 10**6, test_cfg: dict = TEST) -> StandardRoIHead:
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
            assigner=ASSIGNER, sampler=dict(type='RandomSampler', num=num, pos_fraction=0.25)
        ),
        test_cfg=test_cfg,
    )


def with_constant_outputs(head: StandardRoIHead) -> StandardRoIHead:
    """Logits and offsets of zero whatever the features."""
    for fc in (head.bbox_head.fc_cls, head.bbox_head.fc_reg):
        torch.nn.init.zeros_(fc.weight)
    return head


def ground_truth(boxes: list, labels: list) -> GroundTruth:
    return GroundTruth(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels).long()
    )


GT = ground_truth([[10, 10, 50, 60], [80, 20, 150, 100]], [3, 0])
PROPOSALS = torch.tensor(
    [
        [12.0, 12, 52, 62, 0.9],
        [200, 0, 250, 50, 0.8],
        [85, 20, 150, 100, 0.7],
        [0, 100, 9, 150, 0.1],
    ]
)
FEATS = (torch.rand(1, 3, 12, 16, generator=torch.manual_seed(3)),)


def test_features_are_flattened_channel_row_column():
    head, x = bbox_head(), torch.rand(4, 3, 2, 2)
    flat = torch.stack(
        [x[:, c, row, column] for c in range(3) for row in range(2) for column in range(2)], dim=1
    )
    for fc in head.shared_fcs:
        flat = (flat @ fc.weight.T + fc.bias).clamp(min=0)
    logits, deltas = head(x)
    torch.testing.assert_close(logits, flat @ head.fc_cls.weight.T + head.fc_cls.bias)
    torch.testing.assert_close(deltas, flat @ head.fc_reg.weight.T + head.fc_reg.bias)
    assert (logits.shape, deltas.shape) == ((4, CLASSES + 1), (4, 4 * CLASSES))


def test_initial_weights():
    head = Shared2FCBBoxHead(**{k: v for k, v in HEAD.items() if k != 'type'} | dict(
        fc_out_channels=400, num_classes=30))  # fmt: skip
    assert head.fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert head.fc_reg.weight.std().item() == pytest.approx(0.001, rel=0.1)
    bound = math.sqrt(6 / (400 + 400))
    assert 0.95 * bound < head.shared_fcs[1].weight.abs().max().item() <= bound
    assert all((p == 0).all() for n, p in head.named_parameters() if n.endswith('bias'))


def test_box_loss_reads_the_columns_of_the_own_class():
    head, rng = bbox_head(), np.random.default_rng(1)
    labels = torch.tensor([3, 0, CLASSES, CLASSES])
    deltas, targets = rng.normal(size=(4, 4 * CLASSES)), rng.normal(size=(2, 4))
    weights = torch.tensor([0.25, 0.5, 0.25, 0.25])
    losses = head.loss(
        torch.zeros(4, CLASSES + 1), torch.tensor(deltas), labels, torch.tensor(targets), weights
    )
    expected = 0.25 * naive.smooth_l1(deltas[0, 12:16] - targets[0], 1 / 9)
    expected += 0.5 * naive.smooth_l1(deltas[1, 0:4] - targets[1], 1 / 9)
    assert losses['loss_bbox'].item() == pytest.approx(expected, rel=1e-5)
    assert losses['loss_cls'].item() == pytest.approx(1.25 * math.log(CLASSES + 1), rel=1e-5)


def test_accuracy_is_in_percent():
    logits = torch.eye(CLASSES + 1)[[2, 2, 5, 5]]
    losses = bbox_head().loss(
        logits, torch.zeros(4, 20), torch.tensor([2, 3, 5, 5]), torch.zeros(2, 4), torch.ones(4)
    )
    assert losses['acc'].item() == 75


def test_probabilities_leave_the_background_out_and_boxes_are_decoded_per_class():
    head, rng = bbox_head(), np.random.default_rng(2)
    logits, deltas = rng.normal(size=(2, CLASSES + 1)), rng.normal(size=(2, 4 * CLASSES))
    boxes = np.array([[10.0, 20, 40, 60], [100, 50, 180, 90]])
    scores, found = head.decode(
        torch.tensor(logits), torch.tensor(deltas), torch.tensor(boxes), (100, 200)
    )
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.numpy(), expected[:, :CLASSES], rtol=1e-6)
    for n in range(2):
        for c in range(CLASSES):
            box = naive.decode(boxes[n], deltas[n, 4 * c : 4 * c + 4] * STDS, 100, 200)
            np.testing.assert_allclose(found[n, c].numpy(), box, atol=1e-4)


def test_both_losses_are_divided_by_all_sampled_regions():
    head = with_constant_outputs(roi_head())
    samples = head.sample(PROPOSALS, GT)
    assert (len(samples), samples.num_pos) == (6, 4)  # two ground truths, two good proposals
    losses = head.loss(FEATS, [PROPOSALS], [GT])
    assert losses['loss_cls'].item() == pytest.approx(math.log(CLASSES + 1), rel=1e-5)
    # the ground truths are their own target: zero. One proposal is shifted by 2, the other cut by 5
    shifted = np.array([-2 / 40, -2 / 50, 0, 0]) / STDS
    cut = np.array([-2.5 / 65, 0, math.log(70 / 65), 0]) / STDS
    expected = (naive.smooth_l1(shifted, 1 / 9) + naive.smooth_l1(cut, 1 / 9)) / 6
    assert losses['loss_bbox'].item() == pytest.approx(expected, rel=1e-4)


def test_loss_of_two_images_is_the_mean_of_both():
    head = roi_head()
    feats = (torch.rand(2, 3, 12, 16),)
    proposals, gts = [PROPOSALS, PROPOSALS[:2]], [GT, ground_truth([[190, 0, 250, 50]], [1])]
    both = head.loss(feats, proposals, gts)
    single = [head.loss((feats[0][i : i + 1],), [proposals[i]], [gts[i]]) for i in range(2)]
    for name in ('loss_cls', 'loss_bbox'):
        mean = (single[0][name] + single[1][name]) / 2
        assert both[name].item() == pytest.approx(mean.item(), rel=1e-5)
    assert abs(single[0]['loss_bbox'] - single[1]['loss_bbox']) > 1e-3


@pytest.mark.parametrize('num_proposals', [4, 0])
def test_without_ground_truth_every_parameter_still_has_a_gradient(num_proposals):
    head = roi_head()
    feats = (FEATS[0].clone().requires_grad_(),)
    losses = head.loss(feats, [PROPOSALS[:num_proposals]], [ground_truth([], [])])
    assert losses['loss_bbox'].item() == 0
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is not None for p in head.parameters())


def predicted(head: StandardRoIHead, proposals: list[torch.Tensor], scale=(0.5, 0.8)):
    frames = [
        Frame('x', image_id=40 + i, img_shape=(192, 256), scale_factor=scale)
        for i in range(len(proposals))
    ]
    feats = (FEATS[0].repeat(len(proposals), 1, 1, 1),)
    with torch.inference_mode():
        return head.predict(feats, proposals, frames)


def test_detections_are_in_pixels_of_the_original_image():
    head = with_constant_outputs(roi_head())
    # every class scores 1/6; the two boxes overlap by .484; x was halved, y multiplied by .8
    found = predicted(head, [torch.tensor([[10.0, 10, 50, 16], [10, 10, 50, 22.4]])])[0]
    assert (len(found), found.image_id) == (2 * CLASSES, 40)
    assert sorted(found.labels.tolist()) == sorted(2 * list(range(CLASSES)))
    boxes = {tuple(round(x, 3) for x in box) for box in found.boxes.tolist()}
    assert boxes == {(20, 12.5, 100, 20), (20, 12.5, 100, 28)}
    assert found.scores.tolist() == pytest.approx([1 / 6] * 10)


def test_class_scores_order_and_limit():
    head = roi_head(test_cfg=dict(TEST, max_per_img=3))
    torch.nn.init.normal_(head.bbox_head.fc_cls.weight)
    found = predicted(head, [PROPOSALS])[0]
    assert len(found) == 3
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    logits, _ = head.bbox_forward(FEATS, [PROPOSALS])
    best = logits.softmax(dim=1)[:, :CLASSES].max()
    assert found.scores[0].item() == pytest.approx(best.item(), rel=1e-5)


def test_images_without_proposals_have_no_detections():
    empty = PROPOSALS[:0]
    assert [len(d) for d in predicted(roi_head(), [empty])] == [0]
    several = predicted(roi_head(), [empty, PROPOSALS, empty])
    assert [len(d) > 0 for d in several] == [False, True, False]
    assert [d.image_id for d in several] == [40, 41, 42]


def test_misspelt_settings_are_named():
    with pytest.raises(ConfigError, match=r"`test_cfg.rcnn` has no key 'score_th'.*score_thr"):
        roi_head(test_cfg=dict(score_th=0.1, nms=dict(iou_threshold=0.5)))
    with pytest.raises(ConfigError, match=r"`test_cfg.rcnn.nms` has no key 'thr'"):
        roi_head(test_cfg=dict(nms=dict(thr=0.5)))
    with pytest.raises(ConfigError, match=r"`train_cfg.rcnn` lacks the key 'sampler'"):
        StandardRoIHead(
            dict(type='SingleRoIExtractor', roi_layer=dict(output_size=7), out_channels=3,
                 featmap_strides=[16]),
            HEAD, train_cfg=dict(assigner=ASSIGNER),
        )  # fmt: skip
