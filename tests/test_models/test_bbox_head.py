"""The box head and the second stage around it."""

import math

import naive
import numpy as np
import pytest
import torch
from padded import box_rows, ground_truth, image_of, proposals

from mmdet.core.errors import ConfigError
from mmdet.models.dense_heads.rpn_head import Proposals
from mmdet.models.detections import PendingDetections
from mmdet.models.roi_heads import SelsaRoIHead, Shared2FCBBoxHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_head import Keys
from mmdet.structures import Detections, Frame

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


def roi_head(
    num: int = 10**6, test_cfg: dict = TEST, kind: type = StandardRoIHead, **bbox_head
) -> StandardRoIHead:
    torch.manual_seed(0)
    return kind(
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=2, sampling_ratio=2),
            out_channels=3,
            featmap_strides=[16],
        ),
        bbox_head={**HEAD, **bbox_head},
        train_cfg=dict(
            assigner=ASSIGNER, sampler=dict(type='RandomSampler', num=num, pos_fraction=0.25)
        ),
        test_cfg=test_cfg,
    )


def video_head() -> SelsaRoIHead:
    aggregator = dict(type='SelsaAggregator', in_channels=16, num_attention_blocks=4)
    return roi_head(kind=SelsaRoIHead, type='SelsaBBoxHead', aggregator=aggregator)


def with_constant_outputs(head: StandardRoIHead) -> StandardRoIHead:
    """Logits and offsets of zero whatever the features."""
    for fc in (head.bbox_head.fc_cls, head.bbox_head.fc_reg):
        torch.nn.init.zeros_(fc.weight)
    return head


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
FEATS = (torch.rand(1, 3, 12, 16, generator=torch.manual_seed(3)),)


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
    deltas, targets = rng.normal(size=(4, 4 * CLASSES)), rng.normal(size=(4, 4))
    weights = torch.tensor([0.25, 0.5, 0.25, 0.25])
    losses = head.loss(
        torch.zeros(2, 2, CLASSES + 1),
        torch.tensor(deltas).reshape(2, 2, -1),
        labels.reshape(2, 2),
        torch.tensor(targets).reshape(2, 2, 4),
        weights.reshape(2, 2),
    )
    expected = 0.25 * naive.smooth_l1(deltas[0, 12:16] - targets[0], 1 / 9)
    expected += 0.5 * naive.smooth_l1(deltas[1, 0:4] - targets[1], 1 / 9)
    assert losses['loss_bbox'].item() == pytest.approx(expected, rel=1e-5)
    assert losses['loss_cls'].item() == pytest.approx(1.25 * math.log(CLASSES + 1), rel=1e-5)


def test_accuracy_is_in_percent_of_the_slots_that_hold_a_region():
    logits = torch.eye(CLASSES + 1)[[2, 2, 5, 5, 3]][None]
    labels, weights = torch.tensor([[2, 3, 5, 5, 3]]), torch.tensor([[1.0, 1, 1, 1, 0]])
    deltas, targets = torch.zeros(1, 5, 4 * CLASSES), torch.zeros(1, 5, 4)
    assert bbox_head().loss(logits, deltas, labels, targets, weights)['acc'].item() == 75


def test_probabilities_leave_the_background_out_and_boxes_are_decoded_per_class():
    head, rng = bbox_head(), np.random.default_rng(2)
    logits, deltas = rng.normal(size=(2, 2, CLASSES + 1)), rng.normal(size=(2, 2, 4 * CLASSES))
    boxes = np.array([[[10.0, 20, 40, 60], [100, 50, 180, 90]], [[0, 0, 50, 50], [9, 9, 99, 80]]])
    sizes = [(100, 200), (60, 80)]
    scores, found = head.decode(*map(torch.tensor, (logits, deltas, boxes, sizes)))
    expected = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(scores.numpy(), expected[..., :CLASSES], rtol=1e-6)
    for i, n, c in np.ndindex(2, 2, CLASSES):
        delta = deltas[i, n, 4 * c : 4 * c + 4] * STDS
        box = naive.decode(boxes[i, n], delta, *sizes[i])
        np.testing.assert_allclose(found[i, n, c].numpy(), box, atol=1e-4)


def test_both_losses_are_divided_by_all_sampled_regions():
    head, gt = with_constant_outputs(roi_head()), ground_truth(GT)
    _, labels, _, weights = head.targets(proposals(PROPOSALS), gt)
    # two ground truths, two good proposals and two of the background
    assert ((weights > 0).sum(), ((labels < CLASSES) & (weights > 0)).sum()) == (6, 4)
    losses = head.loss(FEATS, proposals(PROPOSALS), gt)
    assert losses['loss_cls'].item() == pytest.approx(math.log(CLASSES + 1), rel=1e-5)
    # the ground truths are their own target: zero. One proposal is shifted by 2, the other cut by 5
    shifted = np.array([-2 / 40, -2 / 50, 0, 0]) / STDS
    cut = np.array([-2.5 / 65, 0, math.log(70 / 65), 0]) / STDS
    expected = (naive.smooth_l1(shifted, 1 / 9) + naive.smooth_l1(cut, 1 / 9)) / 6
    assert losses['loss_bbox'].item() == pytest.approx(expected, rel=1e-4)


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


def test_loss_of_a_batch_is_the_mean_of_its_images():
    head = roi_head()
    feats = (torch.rand(3, 3, 12, 16),)
    rows = [PROPOSALS, PROPOSALS[:2], PROPOSALS[1:]]
    gt = ground_truth(GT, ([[190, 0, 250, 50]], [1]), NOTHING)
    together = head.loss(feats, proposals(*rows), gt)
    single = [
        head.loss((feats[0][i : i + 1],), proposals(rows[i]), image_of(gt, i)) for i in range(3)
    ]
    for name in ('loss_cls', 'loss_bbox'):
        mean = sum(losses[name] for losses in single) / 3
        assert together[name].item() == pytest.approx(mean.item(), rel=1e-5)
    assert abs(single[0]['loss_bbox'] - single[1]['loss_bbox']) > 1e-3


@pytest.mark.parametrize('num_proposals', [4, 0])
def test_without_ground_truth_every_parameter_still_has_a_gradient(num_proposals):
    head = roi_head()
    feats = (FEATS[0].clone().requires_grad_(),)
    losses = head.loss(feats, proposals(PROPOSALS[:num_proposals]), ground_truth(NOTHING))
    assert losses['loss_bbox'].item() == 0
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_references_without_any_proposal_leave_every_aggregator_a_gradient():
    """Of zero; a parameter without one would stop distributed training."""
    head, gt = video_head(), ground_truth(GT)
    refs = proposals(PROPOSALS[:0])
    keys = Keys(head.bbox_head.project_refs(head.rows(FEATS, refs.boxes)), refs.valid)
    losses = head.loss(FEATS, proposals(PROPOSALS), gt, keys)
    total = losses['loss_cls'] + losses['loss_bbox']
    total.backward()
    assert torch.isfinite(total)
    for name, parameter in head.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert 'aggregator' not in name or (parameter.grad == 0).all(), name
    # and what is mixed in is nothing
    alone = head.loss(FEATS, proposals(PROPOSALS), gt)
    assert losses['loss_cls'].item() == pytest.approx(alone['loss_cls'].item(), rel=1e-6)


def predicted(head: StandardRoIHead, given: Proposals, scale=(0.5, 0.8)) -> list[Detections]:
    count = len(given.boxes)
    frames = [
        Frame('x', image_id=40 + i, img_shape=(192, 256), scale_factor=scale) for i in range(count)
    ]
    feats = (FEATS[0].repeat(count, 1, 1, 1),)
    with torch.inference_mode():
        logits, deltas, _ = head.bbox_head.classify(head.rows(feats, given.boxes))
        found = head.detections(logits, deltas, given, torch.tensor([[192.0, 256]] * count))
    return PendingDetections(found, frames).get()


def test_detections_are_in_pixels_of_the_original_image():
    head = with_constant_outputs(roi_head())
    # every class scores 1/6; the two boxes overlap by .484; x was halved, y multiplied by .8
    rows = box_rows([10, 10, 50, 16, 0.9], [10, 10, 50, 22.4, 0.8], width=5)
    found = predicted(head, proposals(rows))[0]
    assert (len(found), found.image_id) == (2 * CLASSES, 40)
    assert sorted(found.labels.tolist()) == sorted(2 * list(range(CLASSES)))
    boxes = {tuple(round(x, 3) for x in box) for box in found.boxes.tolist()}
    assert boxes == {(20, 12.5, 100, 20), (20, 12.5, 100, 28)}
    assert found.scores.tolist() == pytest.approx([1 / 6] * 10)
    assert (found.boxes.dtype, found.labels.dtype) == (torch.float32, torch.int64)


def test_class_scores_order_and_limit():
    head = roi_head(test_cfg=dict(TEST, max_per_img=3))
    torch.nn.init.normal_(head.bbox_head.fc_cls.weight)
    found = predicted(head, proposals(PROPOSALS))[0]
    assert len(found) == 3
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    logits, _, _ = head.bbox_head.classify(head.rows(FEATS, PROPOSALS[None, :, :4]))
    best = logits.softmax(dim=2)[..., :CLASSES].max()
    assert found.scores[0].item() == pytest.approx(best.item(), rel=1e-5)


def test_detections_equal_a_loop_over_images_and_classes():
    head, rng = (
        roi_head(test_cfg=dict(TEST, score_thr=0.2, max_per_img=25)),
        np.random.default_rng(5),
    )
    low = rng.integers(0, 400, (2, 40, 2)) / 4
    sides = rng.integers(40, 240, (2, 40, 2)) / 4
    rows = np.concatenate([low, low + sides, np.ones((2, 40, 1))], axis=2)
    given = proposals(torch.tensor(rows[0]).float(), torch.tensor(rows[1, :25]).float())
    count = given.boxes.shape[1]
    logits = torch.tensor(rng.normal(size=(2, count, CLASSES + 1))).float()
    zero = torch.zeros(2, count, 4 * CLASSES)
    found = head.detections(logits, zero, given, torch.tensor([[300, 300]] * 2))
    scores = logits.softmax(dim=2).numpy()
    for i, existing in enumerate((40, 25)):
        expected = []
        for c in range(CLASSES):
            own = [n for n in range(existing) if scores[i, n, c] > 0.2]
            for k in naive.nms(rows[i, own, :4], scores[i, own, c], 0.5):
                expected.append((scores[i, own[k], c], c, rows[i, own[k], :4]))
        expected = sorted(expected, key=lambda d: -d[0])[:25]
        assert found.valid[i].tolist() == [n < len(expected) for n in range(25)]
        count = len(expected)
        assert found.labels[i, :count].tolist() == [d[1] for d in expected]
        np.testing.assert_allclose(found.scores[i, :count], [d[0] for d in expected], rtol=1e-6)
        np.testing.assert_allclose(found.boxes[i, :count], [d[2] for d in expected], atol=1e-3)


def test_a_score_must_be_above_the_threshold():
    head = roi_head()
    logits = torch.tensor([[[0.25, 0.26, 0.09, 0.1, 0.1, 0.2]]]).log()
    head.test_cfg['score_thr'] = logits.softmax(dim=2)[0, 0, 0].item()
    given = Proposals(torch.tensor([[[0.0, 0, 9, 9]]]), torch.ones(1, 1), torch.ones(1, 1).bool())
    found = head.detections(logits, torch.zeros(1, 1, 20), given, torch.tensor([[50, 50]]))
    assert found.labels[found.valid].tolist() == [1]


def test_images_without_proposals_have_no_detections():
    empty = PROPOSALS[:0]
    assert [len(d) for d in predicted(roi_head(), proposals(empty))] == [0]
    several = predicted(roi_head(), proposals(empty, PROPOSALS, empty))
    assert [len(d) > 0 for d in several] == [False, True, False]
    assert [d.image_id for d in several] == [40, 41, 42]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(score_th=0.1), r"`test_cfg.rcnn` has no key 'score_th'.*score_thr"),
        (dict(nms=dict(thr=0.5)), r"`test_cfg.rcnn.nms` has no key 'thr'"),
        (
            dict(nms=dict(type='soft_nms', iou_threshold=0.5)),
            r"nms.type` is 'soft_nms'. Known: nms",
        ),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        roi_head(test_cfg=dict(nms=dict(iou_threshold=0.5)) | settings)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(sampler=None), r"`train_cfg.rcnn` lacks the key 'sampler'"),
        (dict(pos_weight=5), r'`train_cfg.rcnn.pos_weight` is 5: only -1 is supported'),
        (dict(debug=True), r'`train_cfg.rcnn.debug` is True: only False is supported'),
    ],
)
def test_training_settings_that_would_be_ignored_are_refused(change, message):
    extractor = dict(type='SingleRoIExtractor', roi_layer=dict(output_size=7), out_channels=3,
                     featmap_strides=[16])  # fmt: skip
    sampler = dict(type='RandomSampler', num=8, pos_fraction=0.25)
    cfg = {**dict(assigner=ASSIGNER, sampler=sampler, pos_weight=-1, debug=False), **change}
    with pytest.raises(ConfigError, match=message):
        StandardRoIHead(extractor, HEAD, {k: v for k, v in cfg.items() if v is not None})
