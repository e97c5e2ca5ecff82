"""The detector as a whole, on the narrow versions of the base configs, and prepared for testing."""

import pytest
import torch
from tiny_detector import losses_of, random_clip, tiny_config, tiny_detector
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.models.detectors import FasterRCNN
from mmdet.models.fold import fuse_conv_bn
from mmdet.models.static import StaticPart
from mmdet.registry import MODELS, TASK_UTILS

each_kind = pytest.mark.parametrize('kind', ['dc5', 'fpn'])


def total(values: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(value for name, value in values.items() if 'loss' in name)


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


@pytest.mark.parametrize('num_boxes', [3, 0])
@each_kind
def test_every_trainable_parameter_gets_a_gradient(kind, num_boxes):
    model = tiny_detector(kind)
    values = losses_of(model, random_clip(num_boxes=num_boxes))
    assert set(values) == {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
    total(values).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    if not num_boxes:
        assert values['loss_rpn_bbox'] == values['loss_bbox'] == 0


@each_kind
def test_detections_are_ordered_and_in_pixels_of_the_original_image(kind):
    model = tiny_detector(kind)
    clip = random_clip((96, 128), image_id=17, scale_factor=(0.5, 0.25), video_id=3)
    clip.key.ori_shape = (384, 256)
    detections, state = model.step(clip, model.init_state(video_id=3))
    boxes, scores = detections.boxes, detections.scores
    assert 5 < len(detections) <= 100 and detections.image_id == 17 and state.frames_seen == 1
    assert boxes.dtype == scores.dtype == torch.float32 and boxes.device.type == 'cpu'
    assert boxes[:, 2].max() <= 256 and 192 < boxes[:, 3].max() <= 384
    assert (scores.diff() <= 0).all() and scores.min() > 1e-4 and 0 <= detections.labels.min()


def test_a_model_for_testing_needs_no_training_settings():
    model = MODELS.build({**tiny_config('dc5'), 'train_cfg': None}).eval()
    assert len(model.step(random_clip(), model.init_state())[0]) > 0
    with pytest.raises(ValueError, match="mode 'predict'"):
        model([], mode='predict')


def test_bfloat16_autocast_keeps_losses_and_boxes_in_float32():
    model, clip = tiny_detector('dc5', unlimited=True), random_clip(num_boxes=2)
    exact = losses_of(model, clip)
    with torch.autocast('cpu', torch.bfloat16):
        values = losses_of(model, clip)
        detections, _ = model.eval().step(clip, model.init_state())
    assert {value.dtype for value in (*values.values(), detections.boxes)} == {torch.float32}
    assert total(values).item() == pytest.approx(total(exact).item(), rel=0.1)


ONLY_NMS_PRE = {'test_cfg.rpn': dict(_delete_=True, nms_pre=9)}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg.rpn_proposals': {}}, "`train_cfg` has no key 'rpn_proposals'.*'rpn_proposal'"),
        ({'test_cfg.rpn.nms_thr': 0.7}, "`test_cfg.rpn` has no key 'nms_thr'"),
        ({'test_cfg.rcnn.score_th': 0.1}, "`test_cfg.rcnn` has no key 'score_th'.*'score_thr'"),
        (ONLY_NMS_PRE, "`test_cfg.rpn` lacks the key 'max_per_img'"),
        ({'train_cfg.rcnn.sampler.nums': 1}, "RandomSampler does not take the config key 'nums'"),
        ({'backbone.deph': 18}, "ResNet does not take the config key 'deph'.*'depth'"),
        ({'train_cfg.rpn.pos_weight': 5}, '`train_cfg.rpn.pos_weight` is 5: only -1'),
        ({'train_cfg.rcnn.debug': True}, '`train_cfg.rcnn.debug` is True: only False'),
        ({'train_cfg.rpn_proposal.nms.type': 'soft_nms'}, '`train_cfg.rpn_proposal.nms.type` is'),
        ({'test_cfg.rcnn.nms.type': 'soft_nms'}, "`test_cfg.rcnn.nms.type` is 'soft_nms'.*nms"),
        ({'roi_head.bbox_roi_extractor.roi_layer.type': 'RoIPool'}, "'RoIPool'. Known: RoIAlign"),
        ({'rpn_heads': {}}, "FasterRCNN does not take the config key 'rpn_heads'.*'rpn_head'"),
    ],
)
def test_misspelt_and_ignored_settings_are_refused(options, message):
    with pytest.raises((ConfigError, TypeError), match=message):
        MODELS.build(tiny_config('dc5', options))


# ---- prepared for testing


def with_statistics(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.eval()


def detector(kind: str) -> FasterRCNN:
    return with_statistics(tiny_detector(kind))


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
@pytest.mark.parametrize('channels_last', [True, False, None])
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
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@each_kind
def test_layers_that_decide_boxes_and_scores_stay_float32(kind, dtype, fold_bn):
    model = detector(kind).prepare(dtype, fold_bn=fold_bn)
    deciding = [
        *(model.get_submodule(f'rpn_head.{name}') for name in ('rpn_cls', 'rpn_reg')),
        *(model.get_submodule(f'roi_head.bbox_head.{name}') for name in ('fc_cls', 'fc_reg')),
        *(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)),
    ]
    assert (len(deciding) == 4) == fold_bn
    exempt = {id(p) for layer in deciding for p in layer.parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if id(parameter) in exempt else dtype), name
    assert all(b.dtype == torch.float32 for b in model.buffers() if b.is_floating_point())


@each_kind
def test_bfloat16_gives_float32_boxes_next_to_the_exact_ones(kind):
    model = detector(kind).prepare(torch.bfloat16)
    for found, wanted in zip(outputs(model)[-2:], outputs(detector(kind))[-2:], strict=True):
        assert found.dtype == torch.float32
        assert 0 < (found - wanted).norm() / wanted.norm() < 0.05  # 8 bits, 20 layers
    detections, _ = model.step(random_clip(seed=2), model.init_state())
    assert detections.boxes.dtype == detections.scores.dtype == torch.float32
    assert not torch.equal(detections.boxes, detections.boxes.bfloat16().float())


def test_no_graphs_without_a_gpu_and_none_after_training_starts():
    model = detector('dc5').prepare(graphs=True)
    assert not model.graphs and not model.training
    model.graphs = True
    model._static_parts = {'detect_images': StaticPart(id)}
    model.train()
    assert not model.graphs and not model._static_parts


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.down = nn.Sequential(nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.ReLU())
        self.bn3 = nn.BatchNorm2d(5)  # has no convolution of its own

    def forward(self, x):
        x = self.norm2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return self.bn3(self.down(x))


def test_norms_are_folded_into_convolutions_found_by_name_and_in_sequences():
    with pytest.raises(ValueError, match=r'model\.eval\(\)'):
        fuse_conv_bn(Block())
    model, x = with_statistics(Block()), torch.randn(2, 3, 9, 9)
    expected = model(x)
    assert fuse_conv_bn(model) == 3
    assert isinstance(model.bn3, nn.BatchNorm2d) and isinstance(model.bn1, nn.Identity)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
