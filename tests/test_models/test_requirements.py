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


def another_kind(cfg):
    cfg.detector = dict(type='ChannelMapper', in_channels=[8], out_channels=8)


def plain_head(cfg):
    """Regions that see their own frame only."""
    cfg.detector.roi_head.type = 'StandardRoIHead'
    head = cfg.detector.roi_head.bbox_head
    head.type = 'Shared2FCBBoxHead'
    head.pop('aggregator'), head.pop('topk', None)


def selsa_head(cfg):
    cfg.detector.roi_head.bbox_head.pop('topk')
    cfg.detector.roi_head.bbox_head.type = 'SelsaBBoxHead'


def no_pixels(cfg):
    cfg.pop('pixel_memory')


def pyramid(cfg):
    cfg.detector.backbone.out_indices = (2, 3)


def no_prompts(cfg):
    cfg.pop('prompt_predictor')


def no_neck(cfg):
    cfg.detector.neck = None


def resnet(cfg):
    cfg.detector.backbone = dict(type='ResNet', depth=18, base_channels=12)


def swin(cfg):
    cfg.detector.backbone = dict(
        type='SwinTransformer', embed_dims=16, depths=(2, 2), num_heads=(1, 2), out_indices=(0, 1)
    )


def pixels(cfg):
    cfg.pixel_memory = dict(type='PixelMemory', in_channels=32, num_attention_blocks=4, stride=8)


def foreign_aggregator(cfg):
    cfg.detector.roi_head.bbox_head.aggregator = dict(type='NotAnAggregator', in_channels=32)


@pytest.mark.parametrize(('method', 'change', 'words'), [
    ('selsa', another_kind, ['SELSA', 'two-stage', 'FasterRCNN', 'got ChannelMapper']),
    ('stpn', another_kind, ['STPN', 'two-stage', 'FasterRCNN', 'got ChannelMapper']),
    ('selsa', plain_head, ['SELSA', 'SelsaBBoxHead', 'got Shared2FCBBoxHead']),
    ('stpn_selsa', plain_head, ['STPNSelsa', 'SelsaBBoxHead']),
    ('mamba', plain_head, ['neither level', 'MambaBBoxHead']),
    ('pixel', no_pixels, ['neither level']),
    ('mamba', selsa_head, ['MAMBA', 'must be a MambaBBoxHead']),
    ('both', selsa_head, ['MAMBA', 'must be a MambaBBoxHead']),
    ('pixel', pyramid, ['pixel level of MAMBA', 'out_indices', 'got (2, 3)']),
    ('selsa_with_pixels', pyramid, ['pixel level of SELSA', 'out_indices', 'got (2, 3)']),
    ('stpn', no_prompts, ['STPN', 'needs a `model.prompt_predictor`', 'AttentionPromptPredictor']),
    ('stpn_selsa', no_prompts, ['STPNSelsa', 'needs a `model.prompt_predictor`']),
    ('pixel', no_neck, ['MAMBA', 'needs a `model.detector.neck`']),
    ('stpn', no_neck, ['STPN', 'needs a `model.detector.neck`']),
    ('stpn', resnet, ['STPN', 'prompts', 'STPNSwinTransformer', 'got ResNet']),
    ('tdvit', swin, ['a TDViTTransformer, got SwinTransformer']),
    ('tdvit', pixels, ['has a memory of its own']),
    ('selsa', foreign_aggregator, ['SelsaBBoxHead', 'Aggregator', 'NotAnAggregator does not']),
])  # fmt: skip
def test_parts_that_do_not_fit_are_refused_in_one_sentence(method, change, words):
    cfg = tiny_config(method)
    change(cfg)
    with pytest.raises(ConfigError) as caught:
        MODELS.build(cfg)
    text = str(caught.value)
    assert text.endswith('.') and text.count('. ') == 0, f'more than a sentence: {text}'
    for word in words:
        assert word in text


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
