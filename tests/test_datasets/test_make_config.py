"""Configs written from a base: what they change, what they keep, and what is refused."""

import json
import os
from dataclasses import replace

import pytest
from mmengine import Config
from own_data import changed

from mmdet.core.errors import ConfigError
from mmdet.engine.config_check import check_config
from mmdet.programs.make_config import OwnData, make_config


@pytest.fixture
def data(yolo, convert, tmp_path):
    convert('yolo', yolo, 'ann.json')
    convert('yolo', yolo, 'val.json', val=True)
    return OwnData(tmp_path / 'ann.json', tmp_path / 'val.json', yolo)


@pytest.fixture
def base(repo):
    return repo / 'configs/sample/selsa_r18.py'


@pytest.mark.parametrize('name', ['eovod', 'mega', 'tdvit'])
def test_methods_are_bases(repo, data, tmp_path, name):
    base, out = min((repo / 'configs/vid' / name).glob('*.py')), tmp_path / 'my.py'
    assert make_config(base, data, out) == ['cat', 'dog']
    mine, theirs = Config.fromfile(str(out)), Config.fromfile(str(base))
    check_config(mine)
    common = dict(type='CocoVideoDataset', classes=('cat', 'dog'), img_prefix=str(data.img_root))
    expected = theirs.train_dataloader.dataset.datasets[0] | common
    expected = Config(expected | dict(ann_file=str(data.ann_train)))
    assert mine.train_dataloader.dataset.to_dict() == expected.to_dict()
    expected = Config(theirs.test_dataloader.dataset | common | dict(ann_file=str(data.ann_val)))
    assert mine.test_dataloader.dataset.to_dict() == expected.to_dict()
    assert mine.val_evaluator.ann_file == mine.test_evaluator.ann_file == str(data.ann_val)
    text = json.dumps(theirs.model.to_dict()).replace('"num_classes": 30', '"num_classes": 2')
    assert json.loads(json.dumps(mine.model.to_dict())) == json.loads(text)
    assert '"num_classes": 2' in text
    for part in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'default_hooks'):
        assert mine[part] == theirs[part]
    assert f'_base_ = {os.path.relpath(base, tmp_path)!r}' in out.read_text()


def test_what_cannot_be_used(base, data, tmp_path):
    out = tmp_path / 'my.py'
    (tmp_path / 'base.py').write_text('model = dict(num_classes=3)')
    for arguments, error, message in [
        ((tmp_path / 'base.py', data, out), ConfigError, 'the base must be a whole'),
        ((base, data, tmp_path / 'my.yaml'), ConfigError, r'A config is a \.py file'),
        ((base, replace(data, img_root=tmp_path / 'no'), out), ConfigError, 'no image folder'),
        ((base, replace(data, ann_train=out), out), FileNotFoundError, 'no such'),
        ((base.with_name('selsa_r19.py'), data, out), ConfigError, 'Did you mean'),
    ]:
        with pytest.raises(error, match=message):
            make_config(*arguments)
    changed(data.ann_val, lambda c: c['categories'][0].update(name='bird'))
    with pytest.raises(ConfigError, match=r"val\.json has no 'cat'; .*ann\.json has no 'bird'"):
        make_config(base, data, out)
    assert not out.exists()


def test_the_command(run_tool, base, data, tmp_path):
    arguments = ['--ann-train', data.ann_train, '--ann-val', data.ann_val, '--base', base]
    arguments += ['--img-root', data.img_root, '-o', tmp_path / 'my.py']
    done = run_tool('make_config.py', *arguments)
    assert done.returncode == 0, done.stderr
    assert '2 classes (cat, dog)' in done.stdout and 'python tools/train.py' in done.stdout
    done = run_tool('make_config.py', *arguments)
    assert done.returncode == 1 and '--overwrite' in done.stderr
    assert run_tool('make_config.py', *arguments, '--overwrite').returncode == 0
