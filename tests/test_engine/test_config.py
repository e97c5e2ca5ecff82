"""Mistakes in configs and --cfg-options are found before any work, and say what was meant."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine import Config
from toy_runs import CONFIG

from mmdet.core.errors import ConfigError
from mmdet.core.options import parse_value
from mmdet.engine.config_check import check_class_count, check_config
from mmdet.engine.config_load import load_config

HOOK = 'default_hooks.checkpoint'
DRAW = {'type': 'DrawDetectionsHook'}
TRAIN = 'train_dataloader'


def with_value(key: str, value: object) -> Config:
    """The toy config with another value, not merged into what is there."""
    cfg = node = load_config(CONFIG)
    *parents, last = key.split('.')
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node[last] = value
    return cfg


NAMES = [
    ('model.type', 'ToyDetektor', "`model.type`.*'ToyDetektor'.*mean 'ToyDetector'"),
    ('model.widht', 3, "ToyDetector.*'widht'.*`model`.*mean 'width'"),
    (f'{TRAIN}.dataset.lenghts', [1], f"{TRAIN}.dataset.*'lengths'"),
    (f'{TRAIN}.batchsize', 1, f"`{TRAIN}`.*mean 'batch_size'"),
    (f'{TRAIN}.sampler.type', 'ClipSample', f'{TRAIN}.sampler.type'),
    (f'{TRAIN}.collate_fn.type', 'collate', 'collate_fn.type.*collate_clips'),
    ('optim_wrapper.optimizer.type', 'SDG', "optim_wrapper.optimizer.type.*'SGD'"),
    ('optim_wrapper.optimizer.weigth_decay', 1, "mean 'weight_decay'"),
    ('param_scheduler.1.milestone', [1], "'milestones'.*`param_scheduler.1`|`param_scheduler.1`"),
    (f'{HOOK}.max_keep', 1, 'default_hooks.checkpoint.*max_keep_ckpts'),
    ('train_cfg.epochs', 1, "VideoTrainLoop.*'epochs'.*max_epochs"),
    ('test_evaluator.type', 'Toy', 'test_evaluator.type.*ToyMetric'),
    ('optim_wraper', dict(type='x'), '`optim_wraper`.*mean `optim_wrapper`'),
    ('env_cfg.tf23', False, "`env_cfg`.*mean 'tf32'"),
    ('total_epochs', 3, '1.x.*train_cfg.max_epochs'),
    ('custom_imports', dict(imports=['no_such_module']), 'no_such_module.*PYTHONPATH'),
    ('custom_imports', ['x'], 'custom_imports must be'),
]
TYPES = [
    ('model', 3, '`model` must be a dict'),
    ('model', {}, '`model` has no `type`'),
    ('model', {'typ': 'ToyDetector'}, 'Did you mean'),
    ('model', {'type': 3}, '`model.type` must be a registered name'),
    (TRAIN, [], f'`{TRAIN}` must be a dict'),
    (TRAIN, {}, f'`{TRAIN}` needs a `dataset`'),
    (f'{TRAIN}.dataset', 'x', f'`{TRAIN}.dataset` must be a dict with a `ty'),
    (f'{TRAIN}.dataset.pipeline', [{}], f'`{TRAIN}.dataset.pipeline.0` has no `type`'),
    (f'{TRAIN}.batch_size', '2', f'`{TRAIN}.batch_size` must be a number'),
    (f'{TRAIN}.batch_size', 0, 'must be 1 or more'),
    (f'{TRAIN}.batch_size', True, 'must be a number'),
    (f'{TRAIN}.num_workers', -1, 'a number of 0 or more'),
    (f'{TRAIN}.num_workers', 1.5, 'a number of 0 or more'),
    (f'{TRAIN}.persistent_workers', 'no', 'True or False'),
    ('optim_wrapper.optimizer', {'lr': 0.1}, '`optim_wrapper.optimizer` has no `type`'),
    ('custom_hooks', DRAW, '`custom_hooks` must be a list of dicts'),
    ('custom_hooks', [DRAW], r'DrawDetectionsHook\) needs `out_dir`'),
    ('custom_hooks', [{**DRAW, 'out_dir': 3}], 'out_dir` must be a text'),
    ('custom_hooks', [None], '`custom_hooks.0` must be a dict'),
    (f'{HOOK}.interval', 1.5, 'interval` must be a whole number'),
    (f'{HOOK}.by_epoch', 'yes', 'by_epoch` must be True or False'),
    (f'{HOOK}.save_best', 3, 'save_best` must be None or a text'),
    ('work_dir', 3, '`work_dir` must be a text'),
    ('val_evaluator', 'VideoDetectionMetric', '`val_evaluator` must be a dict'),
    ('param_scheduler', [{'by_epoch': False}], '`param_scheduler.0` has no `type`'),
]


@pytest.mark.parametrize(('key', 'value', 'said'), NAMES + TYPES)
def test_a_mistake_is_named_with_its_place(key, value, said):
    with pytest.raises(ConfigError, match=said):
        check_config(with_value(key, value))


@pytest.mark.parametrize('loader', ['val_dataloader', 'test_dataloader'])
@pytest.mark.parametrize('method', ['bilateral_uniform', None])
def test_a_training_plan_in_a_test_set_is_refused(loader, method):
    sampler = dict(frame_range=9, num_ref_imgs=2, **({'method': method} if method else {}))
    part = dict(type='ToyClips', ref_img_sampler=sampler)
    joined = dict(type='ConcatDataset', datasets=[part])
    for dataset, place in ((part, ''), (joined, r'datasets\.0\.')):
        said = rf'^`{loader}\.dataset\.{place}ref_img_sampler\.method` is {method or "uniform"!r}.*'
        with pytest.raises(ConfigError, match=f'{said}test_with_adaptive_stride or test_with_fix'):
            check_config(with_value(f'{loader}.dataset', dataset))


def test_custom_imports_are_found_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / 'own_folder').mkdir()
    (tmp_path / 'own_folder/own_model.py').write_text(
        'from mmdet.registry import MODELS\n'
        '@MODELS.register_module(force=True)\n'
        'class OwnModel:\n'
        '    def __init__(self, width): ...\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    imports = dict(imports=['own_folder.own_model'])
    cfg = Config(dict(model=dict(type='OwnModel', widht=1), custom_imports=imports))
    with pytest.raises(ConfigError, match=r"OwnModel does not take .*mean 'width'"):
        check_config(cfg)


def test_helper_variables_may_have_any_name_but_those_of_version_1():
    cfg = load_config(CONFIG)
    cfg.update(data_root='x', dataset_type='y', train_pipeline=[], img_norm_cfg={}, lr=1)
    check_config(cfg)
    cfg = Config(dict(model=dict(type='ToyDetector'), data=dict(samples_per_gpu=1)))
    with pytest.raises(ConfigError, match='train_dataloader'):
        check_config(cfg)


def test_a_wrong_class_count_names_both_sides():
    data = SimpleNamespace(ann_file='boxes.json', classes=('cat', 'dog', 'cow', 'pig'))
    head = dict(num_classes=30)
    model = dict(rpn_head=dict(num_classes=1), roi_head=dict(bbox_head=[head]))
    said = r'roi_head\.bbox_head\.0\.num_classes` is 30.* 4 classes \(cat, dog, cow, \.\.\.; boxes'
    with pytest.raises(ConfigError, match=said):
        check_class_count(model, data, TRAIN)
    head['num_classes'] = 4
    check_class_count(model, data, TRAIN)


@pytest.mark.parametrize('path', sorted(Path(__file__).parents[2].glob('configs/[!_]*/**/*.py')))
def test_shipped_configs_pass_the_check(path):
    check_config(load_config(path))


# -- options ---------------------------------------------------------------------------------------


def test_options_reach_lists_by_index_and_keep_tuples():
    pipeline = [dict(type='A'), dict(scale=(1000, 600))]
    cfg = Config(dict(data=dict(pipeline=pipeline), randomness=dict(seed=None)))
    load_config(cfg, {'data.pipeline.1.scale': (320, 192), 'randomness.seed': 5})
    assert cfg.data.pipeline == [dict(type='A'), dict(scale=(320, 192))]
    assert cfg.randomness.seed == 5


def test_options_change_one_of_two_loaders_that_share_a_variable():
    cfg = load_config(CONFIG, {'test_dataloader.batch_size': 7})
    assert cfg.test_dataloader.batch_size == 7 and cfg.val_dataloader.batch_size == 1


@pytest.mark.parametrize(
    ('key', 'value', 'said'),
    [
        ('modle.width', 1, "no `modle`.*mean 'model'"),
        ('train_dataloader.datset.lengths', 1, "no `train_dataloader.datset`.*mean 'dataset'"),
        ('param_scheduler.2.gamma', 1, r"'2' is no index of a list of 2 \(legal: 0 to 1"),
        ('param_scheduler.gamma', 1, "'gamma' is no index"),
        ('model.type.x', 1, "'ToyDetector', which has no keys"),
        ('optim_wrapper.optimizer.lr.x', 1, '0.05.*Set it as a whole'),
        ('param_scheduler.1.milestones', '3,4', r"'param_scheduler\.1\.milestones=\[3,4\]'"),
    ],
)
def test_an_option_that_leads_nowhere_is_refused(key, value, said):
    with pytest.raises(ConfigError, match=said):
        load_config(CONFIG, {key: value})


def test_paths_in_options_keep_blanks_commas_and_quotes():
    path = "/content/My Drive/it's a, b/epoch 1.pth"
    assert load_config(CONFIG, {'load_from': parse_value(path)}).load_from == path


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
    assert load_config(with_value('work_dir', written), None, given).work_dir == expected
