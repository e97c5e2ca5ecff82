"""Checkpoints of mega.pytorch and vfe.pytorch 2.x: names, values, refusals, the way back."""

import json

import pytest
import torch
from mmengine.config import Config

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import load_weights
from mmdet.programs.model_converters import convert_checkpoint
from mmdet.programs.model_converters.mega import ANCHORS, EXTRACTOR, from_mega, to_mega
from mmdet.programs.model_converters.vfe2 import from_vfe2, to_vfe2
from mmdet.registry import MODELS

HEAD = EXTRACTOR.replace('feature_extractor.', 'predictor.')
OUR_HEAD = 'roi_head.bbox_head.'
OURS = f'{OUR_HEAD}aggregator.'
CELL_ANCHORS = """
    -38 -16 53 31, -84 -40 99 55, -176 -88 191 103, -360 -184 375 199,
    -24 -24 39 39, -56 -56 71 71, -120 -120 135 135, -248 -248 263 263,
    -14 -36 29 51, -36 -80 51 95, -80 -168 95 183, -168 -344 183 359
"""
# theirs -> ours, the table of the specification written out by hand
NAMES = {
    'backbone.body.stem.conv1.weight': 'backbone.conv1.weight',
    'backbone.body.stem.bn1.running_mean': 'backbone.bn1.running_mean',
    'backbone.body.layer3.5.conv2.weight': 'backbone.layer3.5.conv2.weight',
    'backbone.body.layer1.0.downsample.1.bias': 'backbone.layer1.0.downsample.1.bias',
    EXTRACTOR + 'head.layer4.2.bn3.running_var': 'backbone.layer4.2.bn3.running_var',
    'rpn.head.conv.bias': 'rpn_head.rpn_conv.bias',
    'rpn.head.cls_logits.weight': 'rpn_head.rpn_cls.weight',
    'rpn.head.bbox_pred.weight': 'rpn_head.rpn_reg.weight',
    EXTRACTOR + 'conv.weight': 'neck.convs.0.conv.weight',
    HEAD + 'cls_score.weight': OUR_HEAD + 'fc_cls.weight',
    HEAD + 'bbox_pred.bias': OUR_HEAD + 'fc_reg.bias',
    EXTRACTOR + 'l_fcs.2.weight': OUR_HEAD + 'shared_fcs.2.weight',
    EXTRACTOR + 'l_Wqs.0.bias': OURS + 'local.0.q.bias',
    EXTRACTOR + 'l_Wks.1.weight': OURS + 'local.1.k.weight',
    EXTRACTOR + 'l_Wvs.1.weight': OURS + 'local.1.v.weight',
    EXTRACTOR + 'l_Wgs.2.weight': OURS + 'local.2.pos.weight',
    EXTRACTOR + 'l_us.0': OURS + 'local.0.u',
    EXTRACTOR + 'g_Wvs.1.bias': OURS + 'global.1.v.bias',
    EXTRACTOR + 'g_us.0': OURS + 'global.0.u',
}
MEGA_MODELS = ['base_r50', 'mega_r50', 'mega_r101', 'rdn_base_r50', 'rdn_adv_r50']
VFE2_NAMES = {
    'detector.backbone.stages.2.blocks.3.attn.w_msa.qkv.weight': 'the same',
    'bbox_head.scales.0.scale': 'the same',
    'prompt_predictor.fc.weight': 'the same',
    'aggregators.0.fc_embed.weight': 'the same',
    'pixel.aggregator.ref_fc.weight': 'pixel_memory.aggregator.ref_fc.weight',
}


def anchors() -> torch.Tensor:
    return torch.tensor([list(map(float, row.split())) for row in CELL_ANCHORS.split(',')])


def tiny_mega() -> dict[str, torch.Tensor]:
    """Shapes of a whole model, cut down: 3 classes and the background, 4 channels."""
    shapes = {
        'backbone.body.stem.conv1.weight': (2, 3, 7, 7),
        'backbone.body.stem.bn1.running_var': (2,),
        EXTRACTOR + 'l_fcs.0.weight': (4, 8),
        EXTRACTOR + 'l_Wvs.0.weight': (4, 4, 1, 1),
        EXTRACTOR + 'l_Wvs.0.bias': (4,),
        EXTRACTOR + 'g_us.0': (2, 1, 2),
        HEAD + 'cls_score.weight': (4, 4),
        HEAD + 'bbox_pred.weight': (16, 4),
    }
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    return {**weights, ANCHORS: anchors()}


# --- mega.pytorch --------------------------------------------------------------------------------


def test_names_of_mega():
    weights = {name: torch.zeros(4, 4) for name in NAMES}
    converted = from_mega({**weights, ANCHORS: anchors(), 'extra': torch.zeros(1)})
    assert converted.left_out == ['extra']
    counter = 'detector.backbone.layer4.2.bn3.num_batches_tracked'
    assert set(converted.weights) == {f'detector.{name}' for name in NAMES.values()} | {counter}


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


def test_the_background_moves_to_the_end_loses_its_boxes_and_comes_back():
    weights = tiny_mega()
    named = from_mega(weights).weights
    ours = {name.removeprefix('detector.' + OUR_HEAD): x for name, x in named.items()}
    assert torch.equal(ours['fc_cls.weight'], weights[HEAD + 'cls_score.weight'][[1, 2, 3, 0]])
    assert torch.equal(ours['fc_reg.weight'], weights[HEAD + 'bbox_pred.weight'][4:])
    value = weights[EXTRACTOR + 'l_Wvs.0.weight'][:, :, 0, 0]
    assert torch.equal(ours['aggregator.local.0.v.weight'], value)
    back = to_mega(named).weights
    weights[HEAD + 'bbox_pred.weight'][:4] = 0
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        ('flownet.conv.weight flownet.Convolution5_scale.weight', 'weights of DFF '),
        ('flownet.conv.weight embednet.embed_conv1.weight', 'weights of FGFA '),
        ('flownet.conv.weight', 'weights of flow-based '),
        (ANCHORS, 'other anchors'),
    ],
)
def test_files_of_other_models_are_refused_by_name(names, words):
    with pytest.raises(CheckpointError, match=words):
        from_mega({**tiny_mega(), **{name: torch.zeros(12, 4) for name in names.split()}})


# --- vfe.pytorch 2.x -----------------------------------------------------------------------------


def test_vfe2_names_and_back():
    weights = {name: torch.tensor(float(i)) for i, name in enumerate(VFE2_NAMES)}
    converted = from_vfe2({**weights, 'ema.step': torch.tensor(1.0)})
    assert converted.left_out == ['ema.step']
    expected = {ours.replace('the same', name): weights[name] for name, ours in VFE2_NAMES.items()}
    assert converted.weights == expected
    assert to_vfe2(converted.weights).weights == weights


def test_every_name_of_vfe2_has_a_place(shared):
    files = sorted((shared / 'golden/vfe2').glob('*.keys.json'))
    assert len(files) >= 10
    for path in files:
        weights = {name: torch.empty(0) for name in json.loads(path.read_text())}
        converted = from_vfe2(weights)
        assert (converted.left_out, len(converted.weights)) == ([], len(weights))
        assert list(to_vfe2(converted.weights).weights) == list(weights)


@pytest.mark.parametrize(
    ('keys', 'config'),
    [
        ('mamba_pix_r101', 'mamba/mamba_pixel_r101_dc5_6x.py'),
        ('tdvit_t_cross', 'tdvit/tdvit_t_cross_3x.py'),
        ('tdvit_t_joint', 'tdvit/tdvit_t_joint_3x.py'),
    ],
)
def test_models_load_vfe2_without_a_missing_name(keys, config, shared, repo):
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(repo / 'configs/vid' / config).model)
    shapes = json.loads((shared / f'golden/vfe2/{keys}.keys.json').read_text())
    weights = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    assert load_weights(model, from_vfe2(weights).weights) == []


def test_a_bias_that_we_lack_is_refused_unless_it_is_zero():
    name = 'detector.backbone.stages.0.blocks.1.attn.w_msa.temporal_bias'
    weights = {'detector.backbone.norm0.weight': torch.ones(2), name: torch.zeros(2)}
    assert from_vfe2(weights).left_out == [name]
    with pytest.raises(CheckpointError, match='trained with temporal_bias'):
        from_vfe2({**weights, name: torch.tensor([0.0, 0.1])})


# --- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('convert', [from_mega, to_mega, from_vfe2, to_vfe2])
def test_weights_of_something_else_are_refused(convert):
    with pytest.raises(CheckpointError, match=r'names like fc\.weight'):
        convert({'fc.weight': torch.zeros(1)})


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


def test_an_unknown_format_names_a_known_one(tmp_path):
    with pytest.raises(CheckpointError, match="Did you mean 'vfe2'"):
        convert_checkpoint(tmp_path / 'in.pth', tmp_path / 'out.pth', 'vfe')
    assert not (tmp_path / 'out.pth').exists()
