"""Checkpoints of vfe.pytorch 2.x: every name of its models, refusals, the command, the way back."""

import importlib.util
import sys

import pytest
import torch
from mmengine.config import Config

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import load_weights
from mmdet.programs.convert_checkpoint import convert_checkpoint
from mmdet.programs.vfe2_weights import from_vfe2, to_vfe2
from mmdet.registry import MODELS

NAMES = {
    'detector.backbone.stages.2.blocks.3.attn.w_msa.qkv.weight': 'the same',
    'detector.neck.lateral_convs.0.conv.bias': 'the same',
    'bbox_head.scales.0.scale': 'the same',
    'prompt_predictor.fc.weight': 'the same',
    'aggregators.0.fc_embed.weight': 'the same',
    'pixel.aggregator.ref_fc.weight': 'pixel_memory.aggregator.ref_fc.weight',
}


def test_names():
    weights = {name: torch.tensor(float(i)) for i, name in enumerate(NAMES)}
    weights['ema.step'] = torch.tensor(1.0)
    converted = from_vfe2(weights)
    assert converted.left_out == ['ema.step']
    expected = {ours.replace('the same', name): weights[name] for name, ours in NAMES.items()}
    assert converted.weights == expected
    assert to_vfe2(converted.weights).weights == {name: weights[name] for name in NAMES}


def test_every_name_of_its_models_has_a_place(shared):
    files = sorted((shared / 'golden/vfe2').glob('*.keys.json'))
    assert len(files) >= 10
    for path in files:
        weights = {name: torch.empty(0) for name in Config.fromfile(path).to_dict()}
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
def test_models_load_them_without_a_missing_name(keys, config, shared, repo):
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(repo / 'configs/vid' / config).model)
    shapes = Config.fromfile(shared / f'golden/vfe2/{keys}.keys.json').to_dict()
    weights = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    assert load_weights(model, from_vfe2(weights).weights) == []


def test_a_bias_that_we_lack_is_refused_unless_it_is_zero():
    name = 'detector.backbone.stages.0.blocks.1.attn.w_msa.temporal_bias'
    weights = {'detector.backbone.norm0.weight': torch.ones(2), name: torch.zeros(2)}
    assert from_vfe2(weights).left_out == [name]
    with pytest.raises(CheckpointError, match='trained with temporal_bias'):
        from_vfe2({**weights, name: torch.tensor([0.0, 0.1])})


def test_weights_of_another_code_base_are_refused():
    with pytest.raises(CheckpointError, match=r'names like rpn\.head\.conv\.bias'):
        from_vfe2({'rpn.head.conv.bias': torch.zeros(2)})


def test_the_command(repo, tmp_path, monkeypatch, capsys):
    path = repo / 'tools/model_converters/convert_checkpoint.py'
    spec = importlib.util.spec_from_file_location('convert_checkpoint_tool', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    source, out = tmp_path / 'theirs.pth', tmp_path / 'ours.pth'
    weights = {'pixel.aggregator.fc.bias': torch.ones(2), 'ema.step': torch.zeros(1)}
    torch.save({'state_dict': weights, 'meta': {'epoch': 3}}, source)
    monkeypatch.setattr(sys, 'argv', ['', '--from', 'vfe2', str(source), str(out)])
    tool.main()
    printed = capsys.readouterr().out
    assert '1 weights' in printed and 'ema.step' in printed
    (name,) = state_dict_of(load_checkpoint_file(out))
    assert name == 'pixel_memory.aggregator.fc.bias'
    with pytest.raises(CheckpointError, match='there already'):
        convert_checkpoint(source, out, 'vfe2')
    with pytest.raises(CheckpointError, match="Did you mean 'vfe2'"):
        convert_checkpoint(source, tmp_path / 'other.pth', 'vfe')
