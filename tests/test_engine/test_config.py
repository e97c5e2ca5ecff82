"""Mistakes in configs and --cfg-options are found before any work, and say what was meant."""

import sys
from pathlib import Path

import pytest
from mmengine import Config

from mmdet.core.errors import ConfigError
from mmdet.core.options import OptionsAction
from mmdet.engine.config_check import check_class_count, check_config
from mmdet.engine.config_load import load_config

HERE = Path(__file__).parent
TOY = HERE / 'toy_config.py'


def options(*texts):
    """What argparse makes of `--cfg-options a=1 b=2`."""
    from argparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


def toy(**changes):
    cfg = load_config(TOY)
    cfg.merge_from_dict(changes)
    return cfg


def test_the_toy_config_is_right():
    check_config(toy())


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'model.type': 'ToyDetektor'}, ['`model.type`', "'ToyDetektor'", "mean 'ToyDetector'"]),
        ({'model.widht': 3}, ['ToyDetector', "'widht'", '`model`', "mean 'width'"]),
        ({'train_dataloader.dataset.lenghts': [1]}, ['train_dataloader.dataset', "'lengths'"]),
        ({'train_dataloader.batchsize': 1}, ['`train_dataloader`', "mean 'batch_size'"]),
        ({'train_dataloader.sampler.type': 'ClipSample'}, ['train_dataloader.sampler.type']),
        ({'optim_wrapper.optimizer.type': 'SDG'}, ['optim_wrapper.optimizer.type', "'SGD'"]),
        ({'optim_wrapper.optimizer.weigth_decay': 1}, ["mean 'weight_decay'"]),
        ({'param_scheduler.1.milestone': [1]}, ['`param_scheduler.1`', "'milestones'"]),
        ({'default_hooks.checkpoint.max_keep': 1}, ['default_hooks.checkpoint', 'max_keep_ckpts']),
        ({'train_cfg.epochs': 1}, ['VideoTrainLoop', "'epochs'", 'max_epochs']),
        ({'test_evaluator.type': 'Toy'}, ['test_evaluator.type', 'ToyMetric']),
        ({'test_evaluator.scal': 2}, ['test_evaluator', "mean 'scale'"]),
        ({'train_dataloader.collate_fn.type': 'collate'}, ['collate_fn.type', 'collate_clips']),
        ({'optim_wraper': dict(type='x')}, ['`optim_wraper`', 'mean `optim_wrapper`']),
        ({'test_dataloder': {}}, ['mean `test_dataloader`']),
        ({'env_cfg.tf23': False}, ['`env_cfg`', "mean 'tf32'"]),
        ({'total_epochs': 3}, ['1.x', 'train_cfg.max_epochs']),
        ({'lr_config': dict(policy='step')}, ['1.x', 'param_scheduler']),
        ({'optimizer': dict(type='SGD')}, ['1.x', '`optim_wrapper.optimizer`']),
        ({'fp16': dict(loss_scale=512)}, ['1.x', '--amp']),
        ({'custom_imports': dict(imports=['no_such_module'])}, ['no_such_module', 'PYTHONPATH']),
    ],
)
def test_a_mistake_is_named_with_its_place(changes, words):
    with pytest.raises(ConfigError) as caught:
        check_config(toy(**changes))
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize('loader', ['val_dataloader', 'test_dataloader'])
@pytest.mark.parametrize('method', ['uniform', 'bilateral_uniform', None])
def test_a_training_plan_in_a_test_set_is_refused(loader, method):
    sampler = dict(frame_range=9, num_ref_imgs=2, **({'method': method} if method else {}))
    with pytest.raises(ConfigError) as caught:
        check_config(toy(**{f'{loader}.dataset.ref_img_sampler': sampler}))
    text = str(caught.value)
    assert text.startswith(f'`{loader}.dataset.ref_img_sampler.method` is {method or "uniform"!r}')
    assert 'test_with_adaptive_stride or test_with_fix_stride' in text and text.count('. ') == 0
    part = dict(type='ToyClips', ref_img_sampler=sampler)
    parts = dict(_delete_=True, type='ConcatDataset', datasets=[part])
    with pytest.raises(ConfigError, match=rf'`{loader}\.dataset\.datasets\.0\.ref_img_sampler'):
        check_config(toy(**{f'{loader}.dataset': parts}))


def test_custom_imports_are_found_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / 'own_folder').mkdir()
    (tmp_path / 'own_folder/own_model.py').write_text(
        'from mmdet.registry import MODELS\n'
        'from torch import nn\n'
        '@MODELS.register_module(force=True)\n'
        'class OwnModel(nn.Module):\n'
        '    def __init__(self, width): ...\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    model = dict(type='OwnModel', widht=1)
    cfg = Config(dict(model=model, custom_imports=dict(imports=['own_folder.own_model'])))
    with pytest.raises(ConfigError, match=r"OwnModel does not take .*mean 'width'"):
        check_config(cfg)


def test_helper_variables_may_have_any_name():
    cfg = toy(data_root='x', dataset_type='y', train_pipeline=[], img_norm_cfg={}, lr=1, batch=2)
    check_config(cfg)


def test_a_config_of_version_1_is_recognised():
    cfg = Config(dict(model=dict(type='ToyDetector'), data=dict(samples_per_gpu=1)))
    with pytest.raises(ConfigError, match='train_dataloader'):
        check_config(cfg)


class Data:
    ann_file = 'boxes.json'
    classes = ('cat', 'dog', 'cow', 'pig')


def test_a_wrong_class_count_names_both_sides():
    model = dict(rpn_head=dict(num_classes=1), roi_head=dict(bbox_head=[dict(num_classes=30)]))
    with pytest.raises(ConfigError) as caught:
        check_class_count(model, Data(), 'train_dataloader')
    text = str(caught.value)
    assert '`model.roi_head.bbox_head.0.num_classes` is 30' in text
    assert '4 classes (cat, dog, cow, ...; boxes.json)' in text
    model['roi_head']['bbox_head'][0]['num_classes'] = 4
    check_class_count(model, Data(), 'train_dataloader')


def test_options_reach_lists_by_index_and_keep_tuples():
    text = options('test_dataloader.dataset.pipeline.1.scale="(320,192)"', 'randomness.seed=5')
    cfg = Config(
        dict(
            test_dataloader=dict(dataset=dict(pipeline=[dict(type='A'), dict(scale=(1000, 600))])),
            randomness=dict(seed=None),
        )
    )
    load_config(cfg, text)
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (320, 192)
    assert cfg.test_dataloader.dataset.pipeline[0].type == 'A' and cfg.randomness.seed == 5


def test_options_change_one_of_two_loaders_that_share_a_variable():
    cfg = load_config(TOY, {'test_dataloader.batch_size': 7})
    assert cfg.test_dataloader.batch_size == 7 and cfg.val_dataloader.batch_size == 1


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('modle.width', ['no `modle`', "mean 'model'"]),
        ('train_dataloader.datset.lengths', ['no `train_dataloader.datset`', "mean 'dataset'"]),
        ('param_scheduler.2.gamma', ["'2' is no index of a list of 2", 'legal: 0 to 1']),
        ('param_scheduler.gamma', ["'gamma' is no index"]),
        ('model.type.x', ["'ToyDetector', which has no keys"]),
        ('optim_wrapper.optimizer.lr.x', ['0.05', 'Set it as a whole']),
    ],
)
def test_an_option_that_leads_nowhere_is_refused(key, words):
    with pytest.raises(ConfigError) as caught:
        load_config(TOY, {key: 1})
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_an_absent_config_names_a_similar_one():
    with pytest.raises(ConfigError, match=r"toy_confg\.py.*mean 'toy_config\.py'"):
        load_config(HERE / 'toy_confg.py')


def test_a_config_that_does_not_read_is_named(tmp_path):
    (tmp_path / 'bad.py').write_text('model = dict(\n')
    with pytest.raises(ConfigError, match=r'Cannot read the config .*bad\.py: SyntaxError'):
        load_config(tmp_path / 'bad.py')


@pytest.mark.parametrize(
    ('given', 'written', 'expected'),
    [('', None, 'work_dirs/toy_config'), ('', 'here', 'here'), ('there', 'here', 'there')],
)
def test_the_work_dir(given, written, expected):
    cfg = toy(work_dir=written)
    assert load_config(cfg, None, given).work_dir == expected


def shipped_configs():
    root = HERE.parents[1] / 'configs'
    return sorted(p for p in root.rglob('*.py') if '_base_' not in p.parts)


@pytest.mark.parametrize('path', shipped_configs(), ids=lambda p: p.stem)
def test_shipped_configs_pass_the_check(path):
    check_config(load_config(path))


def test_paths_in_options_keep_blanks_commas_and_quotes():
    path = "/content/My Drive/it's a, b/epoch 1.pth"
    cfg = load_config(TOY, options(f'load_from={path}', f'work_dir={path}'))
    assert cfg.load_from == cfg.work_dir == path


def test_a_list_without_brackets_is_refused_where_the_config_has_a_list():
    with pytest.raises(ConfigError, match=r"'param_scheduler\.1\.milestones=\[3,4\]'"):
        load_config(TOY, options('param_scheduler.1.milestones=3,4'))
    cfg = load_config(TOY, options('param_scheduler.1.milestones=[3, 4]'))
    assert cfg.param_scheduler[1].milestones == [3, 4]
