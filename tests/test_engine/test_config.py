"""Mistakes in configs and --cfg-options are found before any work, and say what was meant."""

import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
from mmengine import Config
from toy_runs import CONFIG

from mmdet.core.errors import ConfigError
from mmdet.core.options import OptionsAction
from mmdet.engine.config_check import check_class_count, check_config
from mmdet.engine.config_load import load_config

HOOKED = 'default_hooks.checkpoint'
DRAW = {'type': 'DrawDetectionsHook'}


def options(*texts):
    """What argparse makes of `--cfg-options a=1 b=2`."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


def toy(**changes):
    cfg = load_config(CONFIG)
    cfg.merge_from_dict(changes)
    return cfg


def with_value(key: str, value: object) -> Config:
    """The toy config with another value, not merged into what is there."""
    cfg = node = load_config(CONFIG)
    *parents, last = key.split('.')
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node[last] = value
    return cfg


@pytest.mark.parametrize(
    ('key', 'value', 'words'),
    [
        # names
        ('model.type', 'ToyDetektor', ['`model.type`', "'ToyDetektor'", "mean 'ToyDetector'"]),
        ('model.widht', 3, ['ToyDetector', "'widht'", '`model`', "mean 'width'"]),
        ('train_dataloader.dataset.lenghts', [1], ['train_dataloader.dataset', "'lengths'"]),
        ('train_dataloader.batchsize', 1, ['`train_dataloader`', "mean 'batch_size'"]),
        ('train_dataloader.sampler.type', 'ClipSample', ['train_dataloader.sampler.type']),
        ('optim_wrapper.optimizer.type', 'SDG', ['optim_wrapper.optimizer.type', "'SGD'"]),
        ('optim_wrapper.optimizer.weigth_decay', 1, ["mean 'weight_decay'"]),
        ('param_scheduler.1.milestone', [1], ['`param_scheduler.1`', "'milestones'"]),
        (f'{HOOKED}.max_keep', 1, ['default_hooks.checkpoint', 'max_keep_ckpts']),
        ('train_cfg.epochs', 1, ['VideoTrainLoop', "'epochs'", 'max_epochs']),
        ('test_evaluator.type', 'Toy', ['test_evaluator.type', 'ToyMetric']),
        ('test_evaluator.scal', 2, ['test_evaluator', "mean 'scale'"]),
        ('train_dataloader.collate_fn.type', 'collate', ['collate_fn.type', 'collate_clips']),
        ('optim_wraper', dict(type='x'), ['`optim_wraper`', 'mean `optim_wrapper`']),
        ('test_dataloder', {}, ['mean `test_dataloader`']),
        ('env_cfg.tf23', False, ['`env_cfg`', "mean 'tf32'"]),
        ('total_epochs', 3, ['1.x', 'train_cfg.max_epochs']),
        ('lr_config', dict(policy='step'), ['1.x', 'param_scheduler']),
        ('optimizer', dict(type='SGD'), ['1.x', '`optim_wrapper.optimizer`']),
        ('fp16', dict(loss_scale=512), ['1.x', '--amp']),
        ('custom_imports', dict(imports=['no_such_module']), ['no_such_module', 'PYTHONPATH']),
        # types
        ('model', 3, ['`model` must be a dict']),
        ('model', {}, ['`model` has no `type`']),
        ('model', {'typ': 'ToyDetector'}, ['Did you mean']),
        ('train_dataloader', [], ['`train_dataloader` must be a dict']),
        ('train_dataloader.dataset', 'x', ['`train_dataloader.dataset` must be a dict with a `ty']),
        ('train_dataloader.dataset', {'lengths': 1}, ['`train_dataloader.dataset` has no `type`']),
        ('train_dataloader.batch_size', '2', ['`train_dataloader.batch_size` must be a number']),
        ('train_dataloader.batch_size', 0, ['must be 1 or more']),
        ('train_dataloader.batch_size', True, ['must be a number']),
        ('train_dataloader.num_workers', -1, ['a number of 0 or more']),
        ('train_dataloader.num_workers', 1.5, ['a number of 0 or more']),
        ('train_dataloader.persistent_workers', 'no', ['True or False']),
        ('optim_wrapper.optimizer', {'lr': 0.1}, ['`optim_wrapper.optimizer` has no `type`']),
        ('custom_hooks', DRAW, ['`custom_hooks` must be a list of dicts']),
        ('custom_hooks', [{'out_dir': 'x'}], ['`custom_hooks.0` has no `type`']),
        ('custom_hooks', [DRAW], ['DrawDetectionsHook) needs `out_dir`']),
        ('custom_hooks', [{**DRAW, 'out_dir': 3}], ['out_dir` must be a text']),
        ('custom_hooks', [None], ['`custom_hooks.0` must be a dict']),
        (f'{HOOKED}.interval', '1', ['interval` must be a whole number']),
        (f'{HOOKED}.interval', 1.5, ['interval` must be a whole number']),
        (f'{HOOKED}.by_epoch', 'yes', ['by_epoch` must be True or False']),
        (f'{HOOKED}.save_best', 3, ['save_best` must be None or a text']),
        ('work_dir', 3, ['`work_dir` must be a text']),
        ('val_evaluator', 'VideoDetectionMetric', ['`val_evaluator` must be a dict']),
        ('param_scheduler', [{'by_epoch': False}], ['`param_scheduler.0` has no `type`']),
    ],
)
def test_a_mistake_is_named_with_its_place(key, value, words):
    with pytest.raises(ConfigError) as caught:
        check_config(with_value(key, value))
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
    check_config(toy(data_root='x', dataset_type='y', train_pipeline=[], img_norm_cfg={}, lr=1))


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


@pytest.mark.parametrize('path', sorted(Path(__file__).parents[2].glob('configs/[!_]*/**/*.py')))
def test_shipped_configs_pass_the_check(path):
    check_config(load_config(path))


# -- options ---------------------------------------------------------------------------------------


def test_options_reach_lists_by_index_and_keep_tuples():
    texts = options('test_dataloader.dataset.pipeline.1.scale="(320,192)"', 'randomness.seed=5')
    pipeline = [dict(type='A'), dict(scale=(1000, 600))]
    cfg = Config(
        dict(test_dataloader=dict(dataset=dict(pipeline=pipeline)), randomness=dict(seed=None))
    )
    load_config(cfg, texts)
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (320, 192)
    assert cfg.test_dataloader.dataset.pipeline[0].type == 'A' and cfg.randomness.seed == 5


def test_options_change_one_of_two_loaders_that_share_a_variable():
    cfg = load_config(CONFIG, {'test_dataloader.batch_size': 7})
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
        load_config(CONFIG, {key: 1})
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_paths_in_options_keep_blanks_commas_and_quotes():
    path = "/content/My Drive/it's a, b/epoch 1.pth"
    cfg = load_config(CONFIG, options(f'load_from={path}', f'work_dir={path}'))
    assert cfg.load_from == cfg.work_dir == path


def test_a_list_without_brackets_is_refused_where_the_config_has_a_list():
    with pytest.raises(ConfigError, match=r"'param_scheduler\.1\.milestones=\[3,4\]'"):
        load_config(CONFIG, options('param_scheduler.1.milestones=3,4'))
    cfg = load_config(CONFIG, options('param_scheduler.1.milestones=[3, 4]'))
    assert cfg.param_scheduler[1].milestones == [3, 4]


def test_a_config_that_is_absent_or_does_not_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"toy_confg\.py.*mean 'toy_config\.py'"):
        load_config(CONFIG.with_name('toy_confg.py'))
    (tmp_path / 'bad.py').write_text('model = dict(\n')
    with pytest.raises(ConfigError, match=r'Cannot read the config .*bad\.py: SyntaxError'):
        load_config(tmp_path / 'bad.py')


@pytest.mark.parametrize(
    ('given', 'written', 'expected'),
    [('', None, 'work_dirs/toy_config'), ('', 'here', 'here'), ('there', 'here', 'there')],
)
def test_the_work_dir(given, written, expected):
    assert load_config(toy(work_dir=written), None, given).work_dir == expected
