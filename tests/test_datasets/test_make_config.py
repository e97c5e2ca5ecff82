"""Configs written from a base: what they change, what they keep, and what is refused."""

import json
import os
from dataclasses import replace

import pytest
from mmengine import Config
from own_data import changed, convert, faultless_set, run_tool, yolo_set

from mmdet.core.errors import ConfigError
from mmdet.datasets import CocoVideoDataset
from mmdet.engine.config_check import check_config
from mmdet.programs.make_config import OwnData, make_config
from mmdet.registry import DATASETS, METRICS


@pytest.fixture
def data(tmp_path):
    ann_file, root = faultless_set(tmp_path)
    convert('yolo', root, tmp_path / 'val.json', val=True)
    return OwnData(ann_file, tmp_path / 'val.json', root)


def test_every_method_is_a_base(repo, data, tmp_path):
    found = sorted((repo / 'configs/vid').glob('*/*.py'))
    bases = list({path.parent.name: path for path in found}.values())
    assert len(bases) >= 7
    for base in bases:
        out = tmp_path / f'my_{base.stem}.py'
        assert make_config(base, data, out) == ['cat', 'dog']
        mine, theirs = Config.fromfile(str(out)), Config.fromfile(str(base))
        check_config(mine)
        first = theirs.train_dataloader.dataset.datasets[0]
        expected = dict(
            first,
            type='CocoVideoDataset',
            classes=('cat', 'dog'),
            ann_file=str(data.ann_train),
            img_prefix=str(data.img_root),
        )
        assert mine.train_dataloader.dataset.to_dict() == Config(expected).to_dict()
        for name in ('val_dataloader', 'test_dataloader'):
            expected = dict(theirs[name].dataset, type='CocoVideoDataset', classes=('cat', 'dog'))
            expected |= dict(ann_file=str(data.ann_val), img_prefix=str(data.img_root))
            assert mine[name].dataset.to_dict() == Config(expected).to_dict()
        for name in ('val_evaluator', 'test_evaluator'):
            assert mine[name] == dict(theirs[name], ann_file=str(data.ann_val))
        text = json.dumps(theirs.model.to_dict()).replace('"num_classes": 30', '"num_classes": 2')
        assert json.loads(json.dumps(mine.model.to_dict())) == json.loads(text)
        assert '"num_classes": 2' in text
        for name in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'default_hooks'):
            assert mine[name] == theirs[name]
        assert mine.get('expected') is None
        text = out.read_text()
        assert f'_base_ = {os.path.relpath(base, tmp_path)!r}' in text
        assert "classes = ('cat', 'dog')" in text and len(text.splitlines()) < 45


def test_what_it_names_can_be_built(repo, data, tmp_path):
    """From another folder than the config's, as paths count from the working directory."""
    out = tmp_path / 'sub/my.py'
    make_config(repo / 'configs/sample/selsa_r18.py', data, out)
    cfg = Config.fromfile(str(out))
    train = DATASETS.build(cfg.train_dataloader.dataset)
    assert isinstance(train, CocoVideoDataset) and train.classes == ('cat', 'dog')
    clip = train[0, 3]
    assert len(clip.frames) == 3 and clip.key.labels.tolist() == [1, 0]
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 4
    assert METRICS.build(cfg.test_evaluator).ann_file == str(data.ann_val)


def test_many_classes_with_odd_names(repo, data, tmp_path):
    names = [f'the \'{i}\' kind, "odd"\\' for i in range(30)]

    def change(content):
        content['categories'] = [{'id': i + 1, 'name': name} for i, name in enumerate(names)]

    changed(data.ann_train, change)
    changed(data.ann_val, lambda c: (change(c), c['categories'].reverse()))  # another order
    make_config(repo / 'configs/sample/selsa_r18.py', data, tmp_path / 'my.py')
    cfg = Config.fromfile(str(tmp_path / 'my.py'))
    assert list(cfg.train_dataloader.dataset.classes) == names
    assert list(cfg.test_dataloader.dataset.classes) == names
    assert cfg.model.detector.roi_head.bbox_head.num_classes == 30


def test_categories_that_differ_are_refused(repo, data, tmp_path):
    changed(data.ann_val, lambda c: c['categories'][0].update(name='bird'))
    out = tmp_path / 'my.py'
    with pytest.raises(ConfigError, match=r"val\.json has no 'cat'; .*ann\.json has no 'bird'"):
        make_config(repo / 'configs/sample/selsa_r18.py', data, out)
    changed(data.ann_val, lambda c: c['categories'].clear() or c['annotations'].clear())
    with pytest.raises(ConfigError, match=r"val\.json has no 'cat', 'dog'\. Convert both"):
        make_config(repo / 'configs/sample/selsa_r18.py', data, out)
    assert not out.exists()


def test_an_older_config_stays(repo, data, tmp_path):
    out = tmp_path / 'my.py'
    out.write_text('mine = 1\n')
    with pytest.raises(ConfigError, match=r'is there already: .*--overwrite'):
        make_config(repo / 'configs/sample/selsa_r18.py', data, out)
    (tmp_path / 'bad.py').write_text(
        f'_base_ = {str(repo / "configs/sample/selsa_r18.py")!r}\nval_evaluator = dict(a=1)\n'
    )
    with pytest.raises(ConfigError, match='val_evaluator'):
        make_config(tmp_path / 'bad.py', data, out, overwrite=True)
    assert out.read_text() == 'mine = 1\n'
    make_config(repo / 'configs/sample/selsa_r18.py', data, out, overwrite=True)
    assert 'cat' in out.read_text()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(num_classes=3)', 'no train_dataloader.dataset: the base must be a whole'),
        ('x = 1', 'its model has no num_classes'),
        (
            'model = dict(num_classes=3)\nval_dataloader = test_dataloader = dict(dataset=dict())\n'
            'train_dataloader = dict(dataset=dict(datasets=[dict(load_as_video=False)]))',
            'none of the datasets it trains on is one of videos',
        ),
    ],
)
def test_bases_that_cannot_be_used(data, tmp_path, text, message):
    (tmp_path / 'base.py').write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path / 'base.py', data, tmp_path / 'my.py')
    assert not (tmp_path / 'my.py').exists()


def test_paths_that_cannot_be_used(repo, data, tmp_path):
    base, out = repo / 'configs/sample/selsa_r18.py', tmp_path / 'my.py'
    no_file = replace(data, ann_train=tmp_path / 'no.json')
    for arguments, error, message in [
        ((base, data, tmp_path / 'my.yaml'), ConfigError, r'A config is a \.py file'),
        ((base, replace(data, img_root=tmp_path / 'no'), out), ConfigError, 'no image folder'),
        ((base, no_file, out), FileNotFoundError, 'no such annotation file'),
        ((base.with_name('selsa_r19.py'), data, out), ConfigError, 'No config file .*Did you mean'),
    ]:
        with pytest.raises(error, match=message):
            make_config(*arguments)


def test_a_base_without_a_concatenation(repo, data, tmp_path):
    """What was written may be a base in its turn."""
    make_config(repo / 'configs/sample/selsa_r18.py', data, tmp_path / 'one.py')
    other = yolo_set(tmp_path / 'elsewhere')
    make_config(tmp_path / 'one.py', replace(data, img_root_val=other), tmp_path / 'two.py')
    one, two = (Config.fromfile(str(tmp_path / f'{name}.py')) for name in ('one', 'two'))
    assert two.train_dataloader == one.train_dataloader
    assert two.val_dataloader.dataset.img_prefix == str(other)


def test_the_command(repo, data, tmp_path):
    arguments = ['--ann-train', data.ann_train, '--ann-val', data.ann_val]
    arguments += ['--img-root', data.img_root, '--base', repo / 'configs/sample/selsa_r18.py']
    arguments += ['-o', tmp_path / 'my.py']
    done = run_tool(repo / 'tools/make_config.py', *arguments)
    assert done.returncode == 0, done.stderr
    assert '2 classes (cat, dog)' in done.stdout and 'python tools/train.py' in done.stdout
    done = run_tool(repo / 'tools/make_config.py', *arguments)
    assert done.returncode == 1 and done.stderr.startswith('error: ')
