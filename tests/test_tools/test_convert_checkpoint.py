"""Checkpoints of mega.pytorch: its names one by one, values, refusals, the way back."""

import json
import subprocess
import sys

import pytest
import torch

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError
from mmdet.programs.convert_checkpoint import convert_checkpoint
from mmdet.programs.mega_weights import ANCHORS, EXTRACTOR, from_mega, to_mega
from mmdet.programs.renaming import Rule, rename

# shapes of a whole model, cut down: 3 classes and the background, 4 channels
HEAD = EXTRACTOR.replace('feature_extractor.', 'predictor.')
CELL_ANCHORS = [
    [-38, -16, 53, 31], [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
    [-24, -24, 39, 39], [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
    [-14, -36, 29, 51], [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
]  # fmt: skip
# theirs -> ours, the table of the specification written out by hand
NAMES = {
    'backbone.body.stem.conv1.weight': 'detector.backbone.conv1.weight',
    'backbone.body.stem.bn1.running_mean': 'detector.backbone.bn1.running_mean',
    'backbone.body.layer3.5.conv2.weight': 'detector.backbone.layer3.5.conv2.weight',
    'backbone.body.layer1.0.downsample.1.bias': 'detector.backbone.layer1.0.downsample.1.bias',
    EXTRACTOR + 'head.layer4.2.bn3.running_var': 'detector.backbone.layer4.2.bn3.running_var',
    'rpn.head.conv.bias': 'detector.rpn_head.rpn_conv.bias',
    'rpn.head.cls_logits.weight': 'detector.rpn_head.rpn_cls.weight',
    'rpn.head.bbox_pred.weight': 'detector.rpn_head.rpn_reg.weight',
    EXTRACTOR + 'conv.weight': 'detector.neck.convs.0.conv.weight',
    HEAD + 'cls_score.weight': 'detector.roi_head.bbox_head.fc_cls.weight',
    HEAD + 'bbox_pred.bias': 'detector.roi_head.bbox_head.fc_reg.bias',
    EXTRACTOR + 'l_fcs.2.weight': 'detector.roi_head.bbox_head.shared_fcs.2.weight',
    EXTRACTOR + 'l_Wqs.0.bias': 'detector.roi_head.bbox_head.aggregator.local.0.q.bias',
    EXTRACTOR + 'l_Wks.1.weight': 'detector.roi_head.bbox_head.aggregator.local.1.k.weight',
    EXTRACTOR + 'l_Wvs.1.weight': 'detector.roi_head.bbox_head.aggregator.local.1.v.weight',
    EXTRACTOR + 'l_Wgs.2.weight': 'detector.roi_head.bbox_head.aggregator.local.2.pos.weight',
    EXTRACTOR + 'l_us.0': 'detector.roi_head.bbox_head.aggregator.local.0.u',
    EXTRACTOR + 'g_Wvs.1.bias': 'detector.roi_head.bbox_head.aggregator.global.1.v.bias',
    EXTRACTOR + 'g_us.0': 'detector.roi_head.bbox_head.aggregator.global.0.u',
}
MODELS = ['base_r50', 'mega_r50', 'mega_r101', 'rdn_base_r50', 'rdn_adv_r50']


def tiny_mega() -> dict[str, torch.Tensor]:
    shapes = {
        'backbone.body.stem.conv1.weight': (2, 3, 7, 7),
        'backbone.body.stem.bn1.running_mean': (2,),
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
    return {**weights, ANCHORS: torch.tensor(CELL_ANCHORS).float()}


def test_names_are_those_of_the_specification():
    weights = {name: torch.zeros(8, 4) for name in NAMES}
    converted = from_mega(weights)
    assert converted.left_out == []
    for theirs, ours in NAMES.items():
        assert ours in converted.weights, theirs
    added = set(converted.weights) - set(NAMES.values())
    assert added == {'detector.backbone.layer4.2.bn3.num_batches_tracked'}


@pytest.mark.parametrize('model', MODELS)
def test_every_name_of_the_original_has_a_place_and_comes_back(shared, model):
    shapes = json.loads((shared / 'golden/mega/keys.json').read_text())[model]
    weights = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    weights[ANCHORS] = torch.tensor(CELL_ANCHORS).float()
    converted = from_mega(weights)
    assert converted.left_out == []
    kept = [n for n in converted.weights if not n.endswith('num_batches_tracked')]
    assert len(kept) == len(shapes) - 1
    prefixed = [n.startswith('detector.') for n in converted.weights]
    assert not any(prefixed) if model == 'base_r50' else all(prefixed)
    back = to_mega(converted.weights)
    assert back.left_out == []
    assert {name: list(x.shape) for name, x in back.weights.items()} == shapes


def test_the_background_moves_to_the_end_and_loses_its_boxes():
    weights = tiny_mega()
    named = from_mega(weights).weights
    old, new = (
        weights[HEAD + 'cls_score.weight'],
        named['detector.roi_head.bbox_head.fc_cls.weight'],
    )
    assert torch.equal(new, old[[1, 2, 3, 0]])
    boxes = named['detector.roi_head.bbox_head.fc_reg.weight']
    assert torch.equal(boxes, weights[HEAD + 'bbox_pred.weight'][4:])
    value = named['detector.roi_head.bbox_head.aggregator.local.0.v.weight']
    assert torch.equal(value, weights[EXTRACTOR + 'l_Wvs.0.weight'][:, :, 0, 0])


def test_round_trip_keeps_all_values_but_the_boxes_of_the_background():
    weights = tiny_mega()
    back = to_mega(from_mega(weights).weights).weights
    weights[HEAD + 'bbox_pred.weight'][:4] = 0
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize(
    ('name', 'method'),
    [
        ('flownet.Convolution5_scale.weight', 'DFF'),
        ('embednet.embed_conv1.weight', 'FGFA'),
        ('flownet.flow_conv1.weight', 'flow-based'),
    ],
)
def test_flow_methods_are_refused_by_name(name, method):
    weights = {**tiny_mega(), 'flownet.conv.weight': torch.zeros(1), name: torch.zeros(1)}
    with pytest.raises(CheckpointError, match=f'weights of {method} '):
        from_mega(weights)


def test_other_anchors_are_refused():
    weights = tiny_mega()
    weights[ANCHORS][3, 2] += 1
    with pytest.raises(CheckpointError, match='other anchors'):
        from_mega(weights)


@pytest.mark.parametrize('convert', [from_mega, to_mega])
def test_weights_of_something_else_are_refused(convert):
    with pytest.raises(CheckpointError, match=r'names like fc\.weight'):
        convert({'fc.weight': torch.zeros(1)})


def test_the_first_rule_that_fits_is_taken_and_the_rest_is_listed():
    rules = [Rule('a.{i}.{rest}', 'x.{i}.{rest}', torch.neg), Rule('a.{rest}', 'y.{rest}')]
    weights = {'a.3.w': torch.ones(1), 'a.b.c': torch.ones(1), 'ba.3.w': torch.ones(1)}
    converted = rename(weights, rules, 'a test')
    assert converted.weights == {'x.3.w': -torch.ones(1), 'y.b.c': torch.ones(1)}
    assert converted.left_out == ['ba.3.w']


def test_command_converts_a_whole_training_file_and_back(tmp_path, repo):
    weights = tiny_mega()
    original = {f'module.{name}': tensor for name, tensor in weights.items()}
    original['module.rpn.head.extra'] = torch.zeros(1)
    source, ours, theirs = (tmp_path / f'{name}.pth' for name in 'abc')
    torch.save({'model': original, 'optimizer': {}, 'scheduler': {}, 'iteration': 7}, source)
    command = [sys.executable, str(repo / 'tools/model_converters/convert_checkpoint.py')]
    done = subprocess.run(
        [*command, '--from', 'mega', source, ours], capture_output=True, text=True, check=True
    )
    assert 'MEGA of mega.pytorch' in done.stdout and '  rpn.head.extra\n' in done.stdout
    converted = state_dict_of(load_checkpoint_file(ours))
    assert converted.keys() == from_mega(weights).weights.keys()
    again = subprocess.run(
        [*command, '--from', 'mega', source, ours], capture_output=True, text=True
    )
    assert again.returncode == 1 and '--overwrite' in again.stderr
    subprocess.run([*command, '--to', 'mega', ours, theirs], capture_output=True, check=True)
    assert torch.load(theirs, weights_only=True)['model'].keys() == weights.keys()


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(CheckpointError, match='mega'):
        convert_checkpoint(tmp_path / 'in.pth', tmp_path / 'out.pth', 'omega')
    assert not (tmp_path / 'out.pth').exists()
