"""Mistakes in configs and --cfg-options are found before any work, and say what was meant."""

import pytest
from mmengine import Config
from toy_runs import CONFIG

from mmdet.core.errors import ConfigError
from mmdet.engine.config_check import check_config
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
    ('param_scheduler.1.milestone', [1], "'milestones'.*`param_scheduler.1`|`param_scheduler.1`"),
    ('train_cfg.epochs', 1, "VideoTrainLoop.*'epochs'.*max_epochs"),
    ('optim_wraper', dict(type='x'), '`optim_wraper`.*mean `optim_wrapper`'),
    ('env_cfg.tf23', False, "`env_cfg`.*mean 'tf32'"),
    ('total_epochs', 3, '1.x.*train_cfg.max_epochs'),
    ('custom_imports', dict(imports=['no_such_module']), 'no_such_module.*PYTHONPATH'),
]
TYPES = [
    ('model', 3, '`model` must be a dict'),
    (TRAIN, {}, f'`{TRAIN}` needs a `dataset`'),
    (f'{TRAIN}.dataset.pipeline', [{}], f'`{TRAIN}.dataset.pipeline.0` has no `type`'),
    (f'{TRAIN}.batch_size', '2', f'`{TRAIN}.batch_size` must be a number'),
    (f'{TRAIN}.persistent_workers', 'no', 'True or False'),
    ('optim_wrapper.optimizer', {'lr': 0.1}, '`optim_wrapper.optimizer` has no `type`'),
    ('custom_hooks', [DRAW], r'DrawDetectionsHook\) needs `out_dir`'),
    (f'{HOOK}.interval', 1.5, 'interval` must be a whole number'),
    ('work_dir', 3, '`work_dir` must be a text'),
]


@pytest.mark.parametrize(('key', 'value', 'said'), NAMES + TYPES)
def test_a_mistake_is_named_with_its_place(key, value, said):
    with pytest.raises(ConfigError, match=said):
        check_config(with_value(key, value))


def test_a_training_plan_in_a_test_set_is_refused():
    """uniform is what a plan without a method is."""
    part = dict(type='ToyClips', ref_img_sampler=dict(frame_range=9, num_ref_imgs=2))
    joined = dict(type='ConcatDataset', datasets=[part])
    for dataset, place in ((part, ''), (joined, r'datasets\.0\.')):
        said = rf"^`val_dataloader\.dataset\.{place}ref_img_sampler\.method` is 'uniform'.*"
        with pytest.raises(ConfigError, match=f'{said}test_with_adaptive_stride or test_with_fix'):
            check_config(with_value('val_dataloader.dataset', dataset))


# -- options ---------------------------------------------------------------------------------------


def test_options_reach_lists_by_index_keep_tuples_and_change_one_of_two_loaders():
    pipeline = [dict(type='A'), dict(scale=(1000, 600))]
    cfg = Config(dict(data=dict(pipeline=pipeline), randomness=dict(seed=None)))
    load_config(cfg, {'data.pipeline.1.scale': (320, 192), 'randomness.seed': 5})
    assert cfg.data.pipeline == [dict(type='A'), dict(scale=(320, 192))]
    assert cfg.randomness.seed == 5
    cfg = load_config(CONFIG, {'test_dataloader.batch_size': 7})  # which shares its variable
    assert cfg.test_dataloader.batch_size == 7 and cfg.val_dataloader.batch_size == 1


@pytest.mark.parametrize(
    ('key', 'value', 'said'),
    [
        ('modle.width', 1, "no `modle`.*mean 'model'"),
        ('param_scheduler.2.gamma', 1, r"'2' is no index of a list of 2 \(legal: 0 to 1"),
        ('optim_wrapper.optimizer.lr.x', 1, '0.05.*Set it as a whole'),
        ('param_scheduler.1.milestones', '3,4', r"'param_scheduler\.1\.milestones=\[3,4\]'"),
    ],
)
def test_an_option_that_leads_nowhere_is_refused(key, value, said):
    with pytest.raises(ConfigError, match=said):
        load_config(CONFIG, {key: value})


def test_a_config_that_is_absent_or_does_not_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"toy_confg\.py.*mean 'toy_config\.py'"):
        load_config(CONFIG.with_name('toy_confg.py'))
    (tmp_path / 'bad.py').write_text('model = dict(\n')
    with pytest.raises(ConfigError, match=r'Cannot read the config .*bad\.py: SyntaxError'):
        load_config(tmp_path / 'bad.py')
