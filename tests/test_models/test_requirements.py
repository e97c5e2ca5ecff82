"""A detector that does not suit a video method is refused when the model is built, in words."""

import pytest
import torch
from tiny_video_models import adaptive_clips, run, tiny_config, tiny_model

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import Aggregator
from mmdet.registry import MODELS


class KeysMean(Aggregator):
    """Adds the mean of the references: only `mix`, no settings of a memory."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()

    def mix(self, query, keys, valid):
        weights = torch.ones_like(keys[..., 0]) if valid is None else valid.to(keys.dtype)
        total = torch.einsum('bm,bmc->bc', weights, keys)
        return (total / weights.sum(dim=1, keepdim=True))[:, None].expand_as(query)


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


@pytest.mark.parametrize('method', ['pixel', 'selsa_with_pixels'])
def test_a_pyramid_under_the_pixel_level(method):
    cfg = tiny_config(method)
    cfg.detector.backbone.out_indices = (2, 3)
    refused(cfg, f'pixel level of {cfg.type}', 'out_indices', 'got (2, 3)')


@pytest.mark.parametrize('method', ['stpn', 'stpn_selsa'])
def test_no_prompts_under_stpn(method):
    cfg = tiny_config(method)
    cfg.pop('prompt_predictor')
    refused(cfg, cfg.type, 'needs a `model.prompt_predictor`', 'AttentionPromptPredictor')


def test_a_plain_head_under_selsa_on_stpn():
    refused(plain_head(tiny_config('stpn_selsa')), 'STPNSelsa', 'SelsaBBoxHead')


def test_no_neck():
    for method in ('pixel', 'stpn'):
        cfg = tiny_config(method)
        cfg.detector.neck = None
        refused(cfg, cfg.type, 'needs a `model.detector.neck`')


def test_a_backbone_without_prompts_under_stpn():
    cfg = tiny_config('stpn')
    cfg.detector.backbone = dict(type='ResNet', depth=18, base_channels=12)
    refused(cfg, 'STPN', 'prompts', 'STPNSwinTransformer', 'got ResNet')


def test_an_aggregator_that_inherits_nothing():
    cfg = tiny_config('selsa')
    cfg.detector.roi_head.bbox_head.aggregator = dict(type='NotAnAggregator', in_channels=32)
    refused(cfg, 'SelsaBBoxHead', 'Aggregator', 'NotAnAggregator does not')


@pytest.mark.parametrize('method', ['selsa', 'mamba'])
def test_an_aggregator_of_ones_own_needs_mix_alone(method):
    cfg = tiny_config(method)
    cfg.detector.roi_head.bbox_head.aggregator = dict(type='KeysMean', in_channels=32)
    model = tiny_model(method, detector=cfg.detector)
    found = run(model, adaptive_clips(model, 1, 3))
    assert len(found) == 3 and all(torch.isfinite(f.scores).all() and len(f) for f in found)
    own, query, refs = KeysMean(32), torch.ones(2, 3, 32), torch.randn(2, 4, 32)
    valid = torch.tensor([[True, False, True, False], [False] * 4])
    found = own(query, refs, valid)
    torch.testing.assert_close(found[0, 0], (refs[0, 0] + refs[0, 2]) / 2)
    assert torch.equal(found[1], torch.zeros(3, 32))


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
    model = tiny_model('selsa', detector=detector)
    found = run(model, adaptive_clips(model, 1, 2))
    assert len(found) == 2 and all(torch.isfinite(f.boxes).all() for f in found)
