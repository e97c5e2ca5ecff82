"""The detector as a whole, on the narrow versions of the base configs."""

import pytest
import torch
from tiny_detector import random_clip, tiny_config, tiny_detector

from mmdet.core.errors import ConfigError
from mmdet.models.detectors import FasterRCNN
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import Clip

KINDS = ['dc5', 'fpn']


def losses(model: FasterRCNN, *clips: Clip) -> dict[str, torch.Tensor]:
    model.train()
    return model(**model.data_preprocessor(list(clips), training=True), mode='loss')


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
@pytest.mark.parametrize('kind', KINDS)
def test_every_trainable_parameter_gets_a_gradient(kind, num_boxes):
    model = tiny_detector(kind)
    values = losses(model, random_clip(num_boxes=num_boxes))
    assert set(values) == {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
    total(values).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    if not num_boxes:
        assert values['loss_rpn_bbox'] == values['loss_bbox'] == 0


@pytest.mark.parametrize('kind', KINDS)
def test_detections(kind):
    model = tiny_detector(kind)
    clip = random_clip((96, 128), image_id=17, scale_factor=(0.5, 0.25), video_id=3)
    clip.key.ori_shape = (384, 256)
    detections, state = model.step(clip, model.init_state(video_id=3))
    assert 5 < len(detections) <= 100 and detections.image_id == 17
    assert detections.boxes.dtype == detections.scores.dtype == torch.float32
    assert detections.boxes.device.type == 'cpu' and state.frames_seen == 1
    assert detections.boxes[:, 2].max() <= 256 and detections.boxes[:, 3].max() <= 384
    assert detections.boxes[:, 3].max() > 192  # pixels of the original image
    assert (detections.scores[:-1] >= detections.scores[1:]).all()
    assert detections.scores.min() > 1e-4 and 0 <= detections.labels.min()


def test_a_model_for_testing_needs_no_training_settings():
    model = MODELS.build({**tiny_config('dc5'), 'train_cfg': None}).eval()
    assert len(model.step(random_clip(), model.init_state())[0]) > 0


def test_bfloat16_autocast_keeps_losses_and_boxes_in_float32():
    model = tiny_detector('dc5', unlimited=True)
    clip = random_clip(num_boxes=2)
    exact = losses(model, clip)
    with torch.autocast('cpu', torch.bfloat16):
        values = losses(model, clip)
        model.eval()
        detections, _ = model.step(clip, model.init_state())
    assert all(value.dtype == torch.float32 for value in values.values())
    assert total(values).item() == pytest.approx(total(exact).item(), rel=0.1)
    assert detections.boxes.dtype == torch.float32


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg.rpn_proposals': {}}, "`train_cfg` has no key 'rpn_proposals'.*'rpn_proposal'"),
        ({'test_cfg.rpn.nms_thr': 0.7}, "`test_cfg.rpn` has no key 'nms_thr'"),
        ({'test_cfg.rcnn.score_th': 0.1}, "`test_cfg.rcnn` has no key 'score_th'.*'score_thr'"),
        (
            {'test_cfg.rpn': dict(_delete_=True, nms_pre=9)},
            "`test_cfg.rpn` lacks the key 'max_per_img'",
        ),
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


def test_forward_is_for_training_only():
    with pytest.raises(ValueError, match=r"mode 'predict': only \"loss\"|mode 'predict'"):
        tiny_detector('dc5')([], mode='predict')
