"""tools/misc/print_config.py, called as a user does."""

import re
import runpy
import sys

import pytest
from mmengine import Config

CONFIG = 'configs/sample/faster_rcnn_r18.py'


@pytest.fixture
def run(repo, monkeypatch, capsys):
    command = runpy.run_path(str(repo / 'tools/misc/print_config.py'))
    monkeypatch.chdir(repo)

    def run(*argv):
        monkeypatch.setattr(sys, 'argv', ['print_config.py', *map(str, argv)])
        command['main']()
        return capsys.readouterr().out

    return run


def test_the_text_is_a_config_without_bases_that_equals_the_file(run, tmp_path):
    path = tmp_path / 'whole.py'
    path.write_text(run(CONFIG, '--cfg-options', 'train_dataloader.batch_size=3'))
    assert '_base_' not in path.read_text()
    whole, file = Config.fromfile(path), Config.fromfile(CONFIG)
    assert whole.train_dataloader.batch_size == 3
    file.train_dataloader.batch_size = 3
    for key in file:
        assert whole[key] == file[key], key
    assert whole.work_dir == 'work_dirs/faster_rcnn_r18'


def test_out_writes_what_would_be_printed(run, tmp_path):
    path = tmp_path / 'new' / 'whole.py'
    assert str(path) in run(CONFIG, '--out', path)
    assert path.read_text() == run(CONFIG)


@pytest.mark.parametrize(
    ('key', 'name'),
    [
        ('model.roi_head', 'roi_head'),
        ('train_dataloader.dataset.datasets.0.pipeline', 'pipeline'),
        ('train_dataloader.dataset.datasets.0.pipeline.2', 'pipeline_2'),
        ('val_dataloader.dataset.pipeline.1.scale.0', 'scale_0'),
        ('work_dir', 'work_dir'),
    ],
)
def test_a_part(run, tmp_path, key, name):
    text = run(CONFIG, '--key', key)
    (tmp_path / 'part.py').write_text(text)
    part = Config.fromfile(tmp_path / 'part.py')
    expected = Config.fromfile(CONFIG)
    expected.work_dir = 'work_dirs/faster_rcnn_r18'
    for step in key.split('.'):
        expected = expected[int(step)] if step.isdigit() else expected[step]
    assert list(part) == [name] and part[name] == expected


def test_diff_prints_one_line_per_key(run):
    options = ['optim_wrapper.optimizer.lr=7', 'val_dataloader.dataset.pipeline.1.keep_ratio=False']
    lines = run(CONFIG, '--cfg-options', *options, '--diff', CONFIG).splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r'optim_wrapper\.optimizer\.lr: 7 -> 0\.\d+', lines[1])
    assert lines[0] == 'val_dataloader.dataset.pipeline.1.keep_ratio: False -> True'
    assert run(CONFIG, '--diff', CONFIG) == 'No key differs.\n'


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['absent.py'], 'error: No config file absent.py'),
        ([CONFIG, '--key', 'model.roi_haed'], "no `model.roi_haed`.*mean 'roi_head'"),
        ([CONFIG, '--key', 'work_dir.x'], '--key work_dir.x: .*without keys'),
        ([CONFIG, '--key', 'param_scheduler.99'], "'99' is no index of a list"),
        ([CONFIG, '--cfg-options', 'model.nekc=1'], "'nekc'.*mean 'neck'"),
        ([CONFIG, '--diff', 'absent.py'], 'error: No config file absent.py'),
    ],
)
def test_a_mistake_is_one_message(run, argv, words):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert re.search(words, str(caught.value.code))


def test_out_must_be_a_config(run, capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        run(CONFIG, '--out', tmp_path / 'c.txt')
    assert caught.value.code == 2 and '.py file' in capsys.readouterr().err
    assert not (tmp_path / 'c.txt').exists()
