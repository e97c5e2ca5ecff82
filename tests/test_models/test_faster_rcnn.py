"""The detector as a whole, on the narrow versions of the base configs, and prepared for testing.

Its losses and detections are compared with those of 1.x in test_golden.py and
test_rendered_parity.py.
"""

import pytest
import torch
from dense_parts import padded, proposals
from tiny_detector import losses_of, random_clip, tiny_config, tiny_detector
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.models.detectors import FasterRCNN
from mmdet.registry import MODELS, TASK_UTILS

CLASSES = 30
each_kind = pytest.mark.parametrize('kind', ['dc5', 'fpn'])
CONTRACT = (
    'FasterRCNN SELSA MAMBA STPN ResNet SwinTransformer STPNSwinTransformer ChannelMapper FPN '
    'RPNHead StandardRoIHead SelsaRoIHead MambaRoIHead Shared2FCBBoxHead SelsaBBoxHead '
    'MambaBBoxHead SelsaAggregator MambaAggregator SingleRoIExtractor CrossEntropyLoss '
    'SmoothL1Loss AnchorGenerator DeltaXYWHBBoxCoder MaxIoUAssigner RandomSampler'
)


def test_registered_names_are_those_of_1x():
    for name in CONTRACT.split():
        assert name in MODELS.module_dict or name in TASK_UTILS.module_dict
    with pytest.raises(KeyError, match=r"Unknown model 'FasterRCN'.*Did you mean 'FasterRCNN'"):
        MODELS.build(dict(type='FasterRCN'))


# ---- training


@each_kind
def test_without_objects_every_parameter_gets_a_gradient(kind):
    model = tiny_detector(kind)
    losses = losses_of(model, random_clip(num_boxes=0))
    assert set(losses) == {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
    assert losses['loss_rpn_bbox'] == losses['loss_bbox'] == 0
    (losses['loss_rpn_cls'] + losses['loss_cls']).backward(retain_graph=True)
    (losses['loss_rpn_bbox'] + losses['loss_bbox']).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_without_the_ground_truth_among_them_the_second_stage_trains_on_proposals_alone():
    options = {'train_cfg.rcnn.sampler.add_gt_as_proposals': False}
    head = tiny_detector('dc5', options=options, unlimited=True).roi_head
    rows = [[12.0, 12, 52, 62], [200, 0, 250, 50], [0, 100, 9, 150]]
    given = torch.tensor([[*row, 0.9] for row in rows])
    gt = padded([[[10.0, 10, 50, 60], [80.0, 20, 150, 100]], []], [[3, 0], []], spare=2)
    boxes, labels, targets, weights = head.targets(proposals(given, given[:1]), gt)
    used, positive = weights > 0, labels < CLASSES
    assert sorted(boxes[0][used[0]].tolist()) == sorted(rows)
    assert boxes[1][used[1]].tolist() == rows[:1]
    assert labels[positive].tolist() == [3] and boxes[positive].tolist() == rows[:1]
    assert (boxes[~used] == 0).all() and (targets[~positive] == 0).all()


# ---- testing


@each_kind
def test_detections_are_ordered_and_in_pixels_of_the_original_image(kind):
    cfg = {**tiny_config(kind), 'train_cfg': None}  # needs no training settings
    model = MODELS.build(cfg).eval()
    model.load_state_dict(tiny_detector(kind).state_dict())
    clip = random_clip((96, 128), image_id=17, scale_factor=(0.5, 0.25), video_id=3)
    clip.key.ori_shape = (384, 256)
    detections, state = model.step(clip, model.init_state(video_id=3))
    boxes, scores = detections.boxes, detections.scores
    assert 5 < len(detections) <= 100 and detections.image_id == 17 and state.frames_seen == 1
    assert boxes.dtype == scores.dtype == torch.float32 and boxes.device.type == 'cpu'
    assert boxes[:, 2].max() <= 256 and 192 < boxes[:, 3].max() <= 384
    assert (scores.diff() <= 0).all() and scores.min() > 1e-4 and 0 <= detections.labels.min()
    with pytest.raises(ValueError, match="mode 'predict'"):
        model([], mode='predict')


def test_small_proposals_are_dropped_and_none_may_be_left():
    model = tiny_detector('fpn', options={'test_cfg.rpn.min_bbox_size': 30})
    feats = model.feats(model.encode(torch.rand(2, 3, 96, 128)))
    found = model.propose(feats, torch.tensor([[96, 128], [96, 29]]))
    sides = found.boxes[0, :, 2:] - found.boxes[0, :, :2]
    assert (sides[found.valid[0]] > 30).all() and found.valid.any(1).tolist() == [True, False]
    assert (found.boxes[1] == 0).all() and (found.scores[~found.valid] == 0).all()


def test_bfloat16_autocast_keeps_losses_and_boxes_in_float32():
    model, clip = tiny_detector('dc5', unlimited=True), random_clip(num_boxes=2)
    exact = losses_of(model, clip)
    with torch.autocast('cpu', torch.bfloat16):
        values = losses_of(model, clip)
        detections, _ = model.eval().step(clip, model.init_state())
    assert {value.dtype for value in (*values.values(), detections.boxes)} == {torch.float32}
    sums = [sum(v.item() for k, v in x.items() if 'loss' in k) for x in (values, exact)]
    assert sums[0] == pytest.approx(sums[1], rel=0.1)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg.rpn_proposals': {}}, "`train_cfg` has no key 'rpn_proposals'.*'rpn_proposal'"),
        ({'test_cfg.rcnn.score_th': 0.1}, "`test_cfg.rcnn` has no key 'score_th'.*'score_thr'"),
        ({'test_cfg.rpn': dict(_delete_=True, nms_pre=9)}, "`test_cfg.rpn` lacks the key 'max_per"),
        ({'train_cfg.rcnn.sampler.nums': 1}, "RandomSampler does not take the config key 'nums'"),
        ({'train_cfg.rpn.pos_weight': 5}, '`train_cfg.rpn.pos_weight` is 5: only -1'),
        ({'test_cfg.rcnn.nms.type': 'soft_nms'}, "`test_cfg.rcnn.nms.type` is 'soft_nms'.*nms"),
        ({'roi_head.bbox_roi_extractor.roi_layer.type': 'RoIPool'}, "'RoIPool'. Known: RoIAlign"),
        ({'rpn_heads': {}}, "FasterRCNN does not take the config key 'rpn_heads'.*'rpn_head'"),
    ],
)
def test_misspelt_and_ignored_settings_are_refused(options, message):
    with pytest.raises((ConfigError, TypeError), match=message):
        MODELS.build(tiny_config('dc5', options))


# ---- prepared for testing


def detector(kind: str) -> FasterRCNN:
    """With norms whose statistics matter."""
    model = tiny_detector(kind)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.weight, module.bias):
                nn.init.normal_(values)
            module.running_var.uniform_(0.5, 2)
    return model


@torch.inference_mode()
def outputs(model: FasterRCNN) -> list[torch.Tensor]:
    """Neck maps, and what the heads say of two boxes; the last two decide."""
    (batch,) = model.data_preprocessor([random_clip((90, 121), seed=2)])['batches']
    feats = model.feats(model.encode(batch.images))
    logits, deltas = model.rpn_head(feats)
    boxes = torch.tensor([[[3.0, 4, 60, 70], [20, 10, 110, 80]]])
    regions = model.roi_head.bbox_head.classify(model.roi_head.roi_feats(feats, boxes))[:2]
    return [*feats, *logits, *deltas, *regions]


@pytest.mark.parametrize('fold_bn', [True, False])
@pytest.mark.parametrize('channels_last', [False, None])
@each_kind
def test_folded_and_in_another_layout_it_computes_the_same(kind, channels_last, fold_bn):
    model = detector(kind).prepare(channels_last=channels_last, fold_bn=fold_bn)
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) != fold_bn
    weight = model.backbone.layer2[0].conv1.weight
    last = channels_last is not False  # the default of a CPU
    assert weight.is_contiguous(memory_format=torch.channels_last) == last
    for found, wanted in zip(outputs(model), outputs(detector(kind)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize('fold_bn', [True, False])
@each_kind
def test_in_bfloat16_layers_that_decide_boxes_and_scores_stay_float32(kind, fold_bn):
    model = detector(kind).prepare(torch.bfloat16, fold_bn=fold_bn)
    deciding = [
        *(model.get_submodule(f'rpn_head.{name}') for name in ('rpn_cls', 'rpn_reg')),
        *(model.get_submodule(f'roi_head.bbox_head.{name}') for name in ('fc_cls', 'fc_reg')),
        *(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)),
    ]
    assert (len(deciding) == 4) == fold_bn
    exempt = {id(p) for layer in deciding for p in layer.parameters()}
    for parameter in model.parameters():
        assert parameter.dtype == (torch.float32 if id(parameter) in exempt else torch.bfloat16)
    assert all(b.dtype == torch.float32 for b in model.buffers() if b.is_floating_point())
    for found, wanted in zip(outputs(model)[-2:], outputs(detector(kind))[-2:], strict=True):
        assert found.dtype == torch.float32
        assert 0 < (found - wanted).norm() / wanted.norm() < 0.05  # 8 bits, 20 layers
    detections, _ = model.step(random_clip(seed=2), model.init_state())
    assert not torch.equal(detections.boxes, detections.boxes.bfloat16().float())
