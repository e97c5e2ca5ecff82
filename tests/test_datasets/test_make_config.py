"""Configs written from a base: what they change, what they keep, and what is refused."""

import json
import os
from dataclasses import replace

import pytest
from mmengine import Config
from own_data import changed, yolo_set

from mmdet.core.errors import ConfigError
from mmdet.datasets import CocoVideoDataset
from mmdet.engine.config_check import check_config
from mmdet.programs.make_config import OwnData, make_config
from mmdet.registry import DATASETS, METRICS


@pytest.fixture
def data(yolo, convert, tmp_path):
    convert('yolo', yolo, 'ann.json')
    convert('yolo', yolo, 'val.json', val=True)
    return OwnData(tmp_path / 'ann.json', tmp_path / 'val.json', yolo)


@pytest.fixture
def base(repo):
    return repo / 'configs/sample/selsa_r18.py'


def test_every_method_is_a_base(repo, data, tmp_path):
    found = sorted((repo / 'configs/vid').glob('*/*.py'))
    bases = list({path.parent.name: path for path in found}.values())
    assert len(bases) >= 7
    for base in bases:
        out = tmp_path / f'my_{base.stem}.py'
        assert make_config(base, data, out) == ['cat', 'dog']
        mine, theirs = Config.fromfile(str(out)), Config.fromfile(str(base))
        check_config(mine)
        common = dict(
            type='CocoVideoDataset', classes=('cat', 'dog'), img_prefix=str(data.img_root)
        )
        first = theirs.train_dataloader.dataset.datasets[0]
        expected = Config(dict(first, **common, ann_file=str(data.ann_train)))
        assert mine.train_dataloader.dataset.to_dict() == expected.to_dict()
        for name in ('val', 'test'):
            expected = theirs[f'{name}_dataloader'].dataset
            expected = Config(dict(expected, **common, ann_file=str(data.ann_val)))
            assert mine[f'{name}_dataloader'].dataset.to_dict() == expected.to_dict()
            expected = dict(theirs[f'{name}_evaluator'], ann_file=str(data.ann_val))
            assert mine[f'{name}_evaluator'] == expected
        text = json.dumps(theirs.model.to_dict()).replace('"num_classes": 30', '"num_classes": 2')
        assert json.loads(json.dumps(mine.model.to_dict())) == json.loads(text)
        assert '"num_classes": 2' in text
        for name in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'default_hooks'):
            assert mine[name] == theirs[name]
        assert mine.get('expected') is None
        assert f'_base_ = {os.path.relpath(base, tmp_path)!r}' in out.read_text()


def test_what_it_names_can_be_built(base, data, tmp_path):
    """From another folder than the config's, as paths count from the working directory."""
    out = tmp_path / 'sub/my.py'
    make_config(base, data, out)
    cfg = Config.fromfile(str(out))
    train = DATASETS.build(cfg.train_dataloader.dataset)
    assert isinstance(train, CocoVideoDataset) and train.classes == ('cat', 'dog')
    clip = train[0, 3]
    assert len(clip.frames) == 3 and clip.key.labels.tolist() == [1, 0]
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 4
    assert METRICS.build(cfg.test_evaluator).ann_file == str(data.ann_val)


def test_an_older_config_stays(base, data, tmp_path):
    out = tmp_path / 'my.py'
    out.write_text('mine = 1\n')
    with pytest.raises(ConfigError, match=r'is there already: .*--overwrite'):
        make_config(base, data, out)
    text = f'_base_ = {str(base)!r}\nval_evaluator = dict(a=1)\n'
    (tmp_path / 'bad.py').write_text(text)
    with pytest.raises(ConfigError, match='val_evaluator'):
        make_config(tmp_path / 'bad.py', data, out, overwrite=True)
    assert out.read_text() == 'mine = 1\n'
    make_config(base, data, out, overwrite=True)
    assert 'cat' in out.read_text()


IMAGES_ONLY = """
model = dict(num_classes=3)
val_dataloader = test_dataloader = dict(dataset=dict())
train_dataloader = dict(dataset=dict(datasets=[dict(load_as_video=False)]))
"""


def test_what_cannot_be_used(base, data, tmp_path):
    for text, message in (
        ('model = dict(num_classes=3)', 'no train_dataloader.dataset: the base must be a whole'),
        ('x = 1', 'its model has no num_classes'),
        (IMAGES_ONLY, 'none of the datasets it trains on is one of videos'),
    ):
        (tmp_path / 'base.py').write_text(text)
        with pytest.raises(ConfigError, match=message):
            make_config(tmp_path / 'base.py', data, tmp_path / 'my.py')
    no_folder, no_file = replace(data, img_root=tmp_path / 'no'), tmp_path / 'no.json'
    for arguments, error, message in [
        ((base, data, tmp_path / 'my.yaml'), ConfigError, r'A config is a \.py file'),
        ((base, no_folder, tmp_path / 'my.py'), ConfigError, 'no image folder'),
        (
            (base, replace(data, ann_train=no_file), tmp_path / 'my.py'),
            FileNotFoundError,
            'no such',
        ),
        ((base.with_name('selsa_r19.py'), data, tmp_path / 'my.py'), ConfigError, 'Did you mean'),
    ]:
        with pytest.raises(error, match=message):
            make_config(*arguments)
    changed(data.ann_val, lambda c: c['categories'][0].update(name='bird'))
    with pytest.raises(ConfigError, match=r"val\.json has no 'cat'; .*ann\.json has no 'bird'"):
        make_config(base, data, tmp_path / 'my.py')
    assert not (tmp_path / 'my.py').exists()


def test_what_was_written_may_be_a_base_in_its_turn(base, data, tmp_path):
    """With many classes of odd names, in another order for validation."""
    names = [f'the \'{i}\' kind, "odd"\\' for i in range(30)]
    categories = [{'id': i + 1, 'name': name} for i, name in enumerate(names)]
    changed(data.ann_train, lambda c: c.update(categories=categories))
    changed(data.ann_val, lambda c: c.update(categories=categories[::-1]))
    make_config(base, data, tmp_path / 'one.py')
    other = yolo_set(tmp_path / 'elsewhere')
    make_config(tmp_path / 'one.py', replace(data, img_root_val=other), tmp_path / 'two.py')
    one, two = (Config.fromfile(str(tmp_path / f'{name}.py')) for name in ('one', 'two'))
    assert list(two.train_dataloader.dataset.classes) == names
    assert list(two.test_dataloader.dataset.classes) == names
    assert two.model.detector.roi_head.bbox_head.num_classes == 30
    assert two.train_dataloader == one.train_dataloader
    assert two.val_dataloader.dataset.img_prefix == str(other)


def test_the_command(run_tool, base, data, tmp_path):
    arguments = ['--ann-train', data.ann_train, '--ann-val', data.ann_val, '--base', base]
    arguments += ['--img-root', data.img_root, '-o', tmp_path / 'my.py']
    done = run_tool('make_config.py', *arguments)
    assert done.returncode == 0, done.stderr
    assert '2 classes (cat, dog)' in done.stdout and 'python tools/train.py' in done.stdout
    done = run_tool('make_config.py', *arguments)
    assert done.returncode == 1 and done.stderr.startswith('error: ')
