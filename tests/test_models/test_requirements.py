"""A detector that does not suit a video method is refused when the model is built, in words."""

import pytest
import torch
from tiny_video_models import PIXELS, adaptive_clips, run, tiny_config, tiny_model

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


BACKBONE, HEAD = 'detector.backbone', 'detector.roi_head.bbox_head'
RESNET = dict(type='ResNet', depth=18, base_channels=12)
ANOTHER = {'detector': dict(type='ChannelMapper', in_channels=[8], out_channels=8)}
PLAIN = {  # regions that see their own frame only
    'detector.roi_head.type': 'StandardRoIHead',
    HEAD: tiny_config('pixel').detector.roi_head.bbox_head,
}
SELSA_HEAD = {f'{HEAD}.type': 'SelsaBBoxHead', f'{HEAD}.topk': 75}
PYRAMID = {f'{BACKBONE}.out_indices': (2, 3)}


@pytest.mark.parametrize(('method', 'changes', 'words'), [
    ('selsa', ANOTHER, ['SELSA', 'two-stage', 'FasterRCNN', 'got ChannelMapper']),
    ('selsa', PLAIN, ['SELSA', 'SelsaBBoxHead', 'got Shared2FCBBoxHead']),
    ('mamba', PLAIN, ['neither level', 'MambaBBoxHead']),
    ('mamba', SELSA_HEAD, ['MAMBA', 'must be a MambaBBoxHead']),
    ('pixel', PYRAMID, ['pixel level of MAMBA', 'out_indices', 'got (2, 3)']),
    ('stpn', {'prompt_predictor': None},
     ['STPN', 'needs a `model.prompt_predictor`', 'AttentionPromptPredictor']),
    ('pixel', {'detector.neck': None}, ['MAMBA', 'needs a `model.detector.neck`']),
    ('stpn', {BACKBONE: RESNET}, ['STPN', 'prompts', 'STPNSwinTransformer', 'got ResNet']),
    ('tdvit', {BACKBONE: RESNET}, ['a TDViTTransformer, got ResNet']),
    ('tdvit', {'pixel_memory': PIXELS}, ['has a memory of its own']),
    ('selsa', {f'{HEAD}.aggregator': dict(type='CTResNetNeck', in_channels=32)},
     ['SelsaBBoxHead', 'Aggregator', 'CTResNetNeck does not']),
])  # fmt: skip
def test_parts_that_do_not_fit_are_refused_in_one_sentence(method, changes, words):
    with pytest.raises(ConfigError) as caught:
        MODELS.build(tiny_config(method, changes))
    text = str(caught.value)
    assert text.endswith('.') and text.count('. ') == 0, f'more than a sentence: {text}'
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize('method', ['selsa', 'mamba'])
def test_an_aggregator_of_ones_own_needs_mix_alone(method, monkeypatch):
    monkeypatch.setattr(MODELS, '_module_dict', {**MODELS.module_dict, 'KeysMean': KeysMean})
    model = tiny_model(method, {f'{HEAD}.aggregator': dict(type='KeysMean', in_channels=32)})
    found = run(model, adaptive_clips(model, 1, 3))
    assert len(found) == 3 and all(torch.isfinite(f.scores).all() and len(f) for f in found)
