"""Checkpoints of mega.pytorch and vfe.pytorch 2.x: names, values, refusals, the way back."""

import json

import pytest
import torch

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError
from mmdet.programs.model_converters import convert_checkpoint
from mmdet.programs.model_converters.mega import ANCHORS, EXTRACTOR, from_mega, to_mega
from mmdet.programs.model_converters.vfe2 import from_vfe2, to_vfe2

HEAD = EXTRACTOR.replace('feature_extractor.', 'predictor.')
OUR_HEAD = 'roi_head.bbox_head.'
OURS = f'{OUR_HEAD}aggregator.'
CELL_ANCHORS = """
    -38 -16 53 31, -84 -40 99 55, -176 -88 191 103, -360 -184 375 199,
    -24 -24 39 39, -56 -56 71 71, -120 -120 135 135, -248 -248 263 263,
    -14 -36 29 51, -36 -80 51 95, -80 -168 95 183, -168 -344 183 359
"""
# theirs -> ours, the table of the specification written out by hand, and shapes of a whole model,
# cut down: 3 classes and the background, 4 channels
NAMES = {
    'backbone.body.stem.conv1.weight': ('backbone.conv1.weight', (2, 3, 7, 7)),
    'backbone.body.layer1.0.downsample.1.bias': ('backbone.layer1.0.downsample.1.bias', (2,)),
    EXTRACTOR + 'head.layer4.2.bn3.running_var': ('backbone.layer4.2.bn3.running_var', (2,)),
    'rpn.head.conv.bias': ('rpn_head.rpn_conv.bias', (2,)),
    EXTRACTOR + 'conv.weight': ('neck.convs.0.conv.weight', (2, 2, 1, 1)),
    HEAD + 'cls_score.weight': (OUR_HEAD + 'fc_cls.weight', (4, 4)),
    HEAD + 'bbox_pred.weight': (OUR_HEAD + 'fc_reg.weight', (16, 4)),
    EXTRACTOR + 'l_fcs.0.weight': (OUR_HEAD + 'shared_fcs.0.weight', (4, 8)),
    EXTRACTOR + 'l_Wqs.0.bias': (OURS + 'local.0.q.bias', (4,)),
    EXTRACTOR + 'l_Wvs.1.weight': (OURS + 'local.1.v.weight', (4, 4, 1, 1)),
    EXTRACTOR + 'l_Wgs.2.weight': (OURS + 'local.2.pos.weight', (2, 2, 1, 1)),
    EXTRACTOR + 'g_us.0': (OURS + 'global.0.u', (2, 1, 2)),
}
MEGA_MODELS = ['base_r50', 'mega_r101', 'rdn_adv_r50']


def anchors() -> torch.Tensor:
    return torch.tensor([list(map(float, row.split())) for row in CELL_ANCHORS.split(',')])


def tiny_mega() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.rand(shape, generator=generator) for name, (_, shape) in NAMES.items()}
    return {**weights, ANCHORS: anchors()}


# --- mega.pytorch --------------------------------------------------------------------------------


@pytest.mark.parametrize('model', MEGA_MODELS)
def test_every_name_of_mega_has_a_place_and_comes_back(shared, model):
    shapes = json.loads((shared / 'golden/mega/keys.json').read_text())[model]
    weights = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    converted = from_mega({**weights, ANCHORS: anchors()})
    assert converted.left_out == []
    kept = [n for n in converted.weights if not n.endswith('num_batches_tracked')]
    assert len(kept) == len(shapes) - 1
    assert {n.startswith('detector.') for n in converted.weights} == {model != 'base_r50'}
    back = to_mega(converted.weights)
    assert back.left_out == []
    assert {name: list(x.shape) for name, x in back.weights.items()} == shapes


def test_names_change_the_background_moves_to_the_end_and_all_comes_back():
    weights = tiny_mega()
    converted = from_mega({**weights, 'extra': torch.zeros(1)})
    assert converted.left_out == ['extra']
    counter = 'backbone.layer4.2.bn3.num_batches_tracked'
    ours = {name.removeprefix('detector.'): x for name, x in converted.weights.items()}
    assert set(ours) == {name for name, _ in NAMES.values()} | {counter}
    order = [1, 2, 3, 0]
    assert torch.equal(ours[OUR_HEAD + 'fc_cls.weight'], weights[HEAD + 'cls_score.weight'][order])
    assert torch.equal(ours[OUR_HEAD + 'fc_reg.weight'], weights[HEAD + 'bbox_pred.weight'][4:])
    value = weights[EXTRACTOR + 'l_Wvs.1.weight'][:, :, 0, 0]
    assert torch.equal(ours[OURS + 'local.1.v.weight'], value)
    back = to_mega(converted.weights).weights
    weights[HEAD + 'bbox_pred.weight'][:4] = 0
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())


def test_files_of_other_models_are_refused_by_name():
    """Those of mega.pytorch with optical flow are DFF's and FGFA's."""
    for names, words in (
        (('flownet.conv.weight', 'flownet.Convolution5_scale.weight'), 'weights of DFF '),
        (('flownet.conv.weight', 'embednet.embed_conv1.weight'), 'weights of FGFA '),
        ((ANCHORS,), 'other anchors'),
    ):
        with pytest.raises(CheckpointError, match=words):
            from_mega({**tiny_mega(), **dict.fromkeys(names, torch.zeros(12, 4))})
    for convert in (from_mega, to_mega, from_vfe2, to_vfe2):
        with pytest.raises(CheckpointError, match=r'names like fc\.weight'):
            convert({'fc.weight': torch.zeros(1)})


# --- vfe.pytorch 2.x -----------------------------------------------------------------------------


def test_vfe2_names_and_back():
    same = ('aggregators.0.fc_embed.weight', 'detector.backbone.stages.2.blocks.3.mlp.fc1.bias')
    weights = {name: torch.ones(1) for name in (*same, 'pixel.aggregator.ref_fc.weight')}
    converted = from_vfe2({**weights, 'ema.step': torch.tensor(1.0)})
    assert converted.left_out == ['ema.step']
    assert set(converted.weights) == {*same, 'pixel_memory.aggregator.ref_fc.weight'}
    assert to_vfe2(converted.weights).weights == weights
    bias = 'detector.backbone.stages.0.blocks.1.attn.w_msa.temporal_bias'
    with pytest.raises(CheckpointError, match='trained with temporal_bias'):
        from_vfe2({**weights, bias: torch.tensor([0.0, 0.1])})


def test_command_converts_a_whole_training_file_and_back(call, refused, tmp_path, capsys):
    weights = tiny_mega()
    original = {f'module.{name}': tensor for name, tensor in weights.items()}
    original['module.rpn.head.extra'] = torch.zeros(1)
    source, ours, theirs = (tmp_path / f'{name}.pth' for name in 'abc')
    torch.save({'model': original, 'optimizer': {}, 'scheduler': {}, 'iteration': 7}, source)
    tool = 'tools/model_converters/convert_checkpoint.py'
    call(tool, '--from', 'mega', source, ours)
    printed = capsys.readouterr().out
    assert 'MEGA of mega.pytorch' in printed and '  rpn.head.extra\n' in printed
    converted = state_dict_of(load_checkpoint_file(ours))
    assert converted.keys() == from_mega(weights).weights.keys()
    assert '--overwrite' in refused(tool, '--from', 'mega', source, ours)
    call(tool, '--to', 'mega', ours, theirs)
    assert torch.load(theirs, weights_only=True)['model'].keys() == weights.keys()
    with pytest.raises(CheckpointError, match="Did you mean 'vfe2'"):
        convert_checkpoint(source, tmp_path / 'out.pth', 'vfe')
