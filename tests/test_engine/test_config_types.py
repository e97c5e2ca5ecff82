"""Values of the wrong type in a config: the path and what is legal, before anything is built."""

from pathlib import Path

import engine_toy  # noqa: F401
import pytest

from mmdet.apis.common import checked_config
from mmdet.core.errors import ConfigError
from mmdet.engine.config_load import load_config

CONFIG = Path(__file__).parent / 'toy_config.py'

WRONG = [
    ('model', 3, '`model` must be a dict'),
    ('model', {}, '`model` has no `type`'),
    ('model', {'typ': 'ToyDetector'}, 'Did you mean'),
    ('train_dataloader', [], '`train_dataloader` must be a dict'),
    ('train_dataloader.dataset', 'data', '`train_dataloader.dataset` must be a dict with a `type`'),
    ('train_dataloader.dataset', {'lengths': [1]}, '`train_dataloader.dataset` has no `type`'),
    ('train_dataloader.batch_size', '2', '`train_dataloader.batch_size` must be a number'),
    ('train_dataloader.batch_size', 0, 'must be 1 or more'),
    ('train_dataloader.batch_size', True, 'must be a number'),
    ('train_dataloader.num_workers', -1, 'a number of 0 or more'),
    ('train_dataloader.num_workers', 1.5, 'a number of 0 or more'),
    ('train_dataloader.persistent_workers', 'no', 'True or False'),
    ('optim_wrapper.optimizer', {'lr': 0.1}, '`optim_wrapper.optimizer` has no `type`'),
    ('custom_hooks', {'type': 'FuseConvBNHook'}, '`custom_hooks` must be a list of dicts'),
    ('custom_hooks', [{'out_dir': 'x'}], '`custom_hooks.0` has no `type`'),
    ('custom_hooks', [{'type': 'DrawDetectionsHook'}], 'DrawDetectionsHook. needs `out_dir`'),
    ('custom_hooks', [{'type': 'DrawDetectionsHook', 'out_dir': 3}], 'out_dir` must be a text'),
    ('custom_hooks', [None], '`custom_hooks.0` must be a dict'),
    ('default_hooks.checkpoint.interval', '1', 'interval` must be a whole number'),
    ('default_hooks.checkpoint.interval', 1.5, 'interval` must be a whole number'),
    ('default_hooks.checkpoint.by_epoch', 'yes', 'by_epoch` must be True or False'),
    ('default_hooks.checkpoint.save_best', 3, 'save_best` must be None or a text'),
    ('work_dir', 3, '`work_dir` must be a text'),
    ('val_evaluator', 'VideoDetectionMetric', '`val_evaluator` must be a dict'),
    ('param_scheduler', [{'by_epoch': False}], '`param_scheduler.0` has no `type`'),
]


@pytest.mark.parametrize(('key', 'value', 'message'), WRONG)
def test_a_value_of_the_wrong_type(key, value, message):
    cfg = load_config(CONFIG)
    *parents, last = key.split('.')
    node = cfg
    for part in parents:
        node = node[part]
    node[last] = value  # and not as an option, which is merged into what is there
    with pytest.raises(ConfigError, match=message):
        checked_config(cfg)


def test_the_unchanged_config_is_right():
    assert checked_config(CONFIG).model.type == 'ToyDetector'
