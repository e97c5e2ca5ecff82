"""A detector that does not suit a video method is refused when the model is built, in words."""

import pytest
import torch
from tiny_video_models import adaptive_clips, run, tiny_config, tiny_model

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import Aggregator
from mmdet.models.vid.detector_needs import build_detector
from mmdet.registry import MODELS


class KeysMean(Aggregator):
    """Adds the mean of the references: only `mix`, no settings of a memory."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()

    def mix(self, query, keys):
        return keys.mean(dim=0).expand_as(query)


class NotAnAggregator(torch.nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The two classes above, for one test."""
    own = {'KeysMean': KeysMean, 'NotAnAggregator': NotAnAggregator}
    monkeypatch.setattr(MODELS, '_module_dict', MODELS._module_dict | own)


def refused(cfg, *words):
    with pytest.raises(ConfigError) as caught:
        MODELS.build(cfg)
    text = str(caught.value)
    assert text.endswith('.') and text.count('. ') == 0, f'more than a sentence: {text}'
    for word in words:
        assert word in text


def plain_head(cfg):
    """Regions that see their own frame only."""
    cfg.detector.roi_head.type = 'StandardRoIHead'
    head = cfg.detector.roi_head.bbox_head
    head.type = 'Shared2FCBBoxHead'
    head.pop('aggregator'), head.pop('topk', None)
    return cfg


@pytest.mark.parametrize('method', ['selsa', 'mamba', 'stpn'])
def test_a_detector_of_another_kind(method):
    cfg = tiny_config(method)
    cfg.detector = dict(type='ChannelMapper', in_channels=[8], out_channels=8)
    refused(cfg, cfg.type, 'two-stage', 'FasterRCNN', 'got ChannelMapper')


def test_a_plain_head_under_selsa():
    refused(plain_head(tiny_config('selsa')), 'SELSA', 'SelsaBBoxHead', 'got Shared2FCBBoxHead')


def test_a_plain_head_under_mamba():
    refused(plain_head(tiny_config('mamba')), 'neither level', 'MambaBBoxHead')


@pytest.mark.parametrize('method', ['mamba', 'both'])
def test_the_head_of_selsa_under_mamba(method):
    cfg = tiny_config(method)
    cfg.detector.roi_head.bbox_head.pop('topk')
    cfg.detector.roi_head.bbox_head.type = 'SelsaBBoxHead'
    refused(cfg, 'MAMBA', 'must be a MambaBBoxHead')


def test_a_pyramid_under_the_pixel_level():
    cfg = tiny_config('pixel')
    cfg.detector.backbone.out_indices = (2, 3)
    refused(cfg, 'pixel level of MAMBA', 'out_indices', 'got (2, 3)')


def test_no_neck():
    for method in ('pixel', 'stpn'):
        cfg = tiny_config(method)
        cfg.detector.neck = None
        refused(cfg, cfg.type, 'needs a `model.detector.neck`')


def test_a_backbone_without_prompts_under_stpn():
    cfg = tiny_config('stpn')
    cfg.detector.backbone = dict(type='ResNet', depth=18, base_channels=4)
    refused(cfg, 'STPN', 'prompts', 'STPNSwinTransformer', 'got ResNet')


def test_an_aggregator_that_inherits_nothing():
    cfg = tiny_config('selsa')
    cfg.detector.roi_head.bbox_head.aggregator = dict(type='NotAnAggregator', in_channels=32)
    refused(cfg, 'SelsaBBoxHead', 'Aggregator', 'NotAnAggregator does not')


def test_build_detector_gives_what_suits():
    with torch.device('meta'):
        detector = build_detector(tiny_config('selsa').detector, 'SELSA')
    assert type(detector).__name__ == 'FasterRCNN'


@pytest.mark.parametrize('method', ['selsa', 'mamba'])
def test_an_aggregator_of_ones_own_needs_mix_alone(method):
    cfg = tiny_config(method)
    cfg.detector.roi_head.bbox_head.aggregator = dict(type='KeysMean', in_channels=32)
    model = tiny_model(method, detector=cfg.detector)
    found = run(model, adaptive_clips(1, 3))
    assert len(found) == 3 and all(torch.isfinite(f.scores).all() and len(f) for f in found)
    empty = KeysMean(32)
    assert torch.equal(empty(torch.ones(2, 32), torch.ones(0, 32)), torch.zeros(2, 32))
    assert empty(torch.ones(0, 32), torch.ones(3, 32)).shape == (0, 32)


def test_selsa_takes_any_backbone_and_neck():
    """A pyramid of Swin under SELSA, as one swaps the detector by config."""
    cfg, pyramid = tiny_config('selsa').to_dict(), tiny_config('stpn').detector.to_dict()
    pyramid['backbone'].update(type='SwinTransformer')
    del pyramid['backbone']['num_tokens']
    detector = cfg['detector']
    detector['roi_head']['bbox_head'].update(in_channels=16, roi_feat_size=7)
    detector['roi_head']['bbox_roi_extractor'] = pyramid['roi_head']['bbox_roi_extractor']
    detector['test_cfg'] = pyramid['test_cfg']
    for part in ('backbone', 'neck', 'rpn_head'):
        detector[part] = pyramid[part]
    found = run(tiny_model('selsa', detector=detector), adaptive_clips(1, 2))
    assert len(found) == 2 and all(torch.isfinite(f.boxes).all() for f in found)
