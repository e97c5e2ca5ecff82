"""YAML and JSON configs are data: they say what Python configs say, and run nothing."""

import json
from pathlib import Path

import pytest
import yaml
from mmengine import Config

from mmdet.core.errors import ConfigError
from mmdet.engine.config_load import load_config

REPO = Path(__file__).resolve().parents[2]
PYTHON = REPO / 'configs/sample/faster_rcnn_r18.py'


def write(path: Path, value: dict) -> Path:
    path.write_text(json.dumps(value) if path.suffix == '.json' else yaml.safe_dump(value))
    return path


@pytest.mark.parametrize('suffix', ['.json', '.yaml', '.yml'])
def test_what_python_says_data_can_say(tmp_path, suffix):
    expected = Config.fromfile(PYTHON)
    base = write(
        tmp_path / f'base{suffix}', {'_base_': str(PYTHON), 'train_cfg': {'max_epochs': 7}}
    )
    path = write(tmp_path / f'top{suffix}', {'_base_': [base.name], 'model': {'train_cfg': None}})
    cfg = load_config(path)
    expected.merge_from_dict({'train_cfg.max_epochs': 7, 'model.train_cfg': None})
    assert cfg.model == expected.model and cfg.train_cfg == expected.train_cfg
    assert cfg.work_dir == 'work_dirs/top'


CODE = '!!python/object/apply:os.system ["touch ran"]'
HOSTILE = {
    'tag.yaml': f'model: {CODE}',
    'tag.yml': f'{CODE}',
    'module.yaml': 'a: !!python/module:antigravity',
    'name.yaml': 'a: !!python/name:os.system',
    'base.yaml': '_base_: tagged.yaml',
    'base_of_code.json': '{"_base_": "program.py"}',
    'escaped_base.json': '{"_base_": ["sub/../program.py"]}',
    'template.json': '{"{{$ENV:NOTHING:_base_}}": "program.py"}',
    'template.yaml': "a: '{{$ENV:HOME:x}}'",
    'imports.yaml': 'custom_imports: {imports: [program]}',
    'scope.json': '{"default_scope": "program"}',
    'dotted.json': '{"model": {"type": "subprocess.getoutput", "cmd": "touch ran"}}',
    'dotted.yaml': 'hooks: [{type: os.system, command: touch ran}]',
    'loop.yaml': '_base_: loop.yaml',
    'anchor.yaml': 'a: &a [*a]',
    'laughs.yaml': 'a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n'
    + ''.join(f'a{i + 1}: &a{i + 1} [{", ".join([f"*a{i}"] * 10)}]\n' for i in range(9)),
    'deep.json': '{"a": ' + '[' * 100_000,
    'deep.yaml': 'a: ' + '[' * 5_000,
    'list.json': '[]',
    'number.yaml': '3',
    'empty.yaml': '',
    'broken.json': '{"a": ',
    'latin.yaml': 'a: 1\nb: \udce9',
    'keys.yaml': '{[1, 2]: 3}',
    'date.yaml': 'type: 2020-01-01',
    'huge.json': '{"a": "' + 'x' * 2_000_000 + '"}',
    'number.json': '{"a": ' + '9' * 10_000 + '}',
}


@pytest.mark.parametrize('name', HOSTILE)
def test_nothing_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'program.py').write_text("open('ran', 'w')")
    (tmp_path / 'tagged.yaml').write_text(f'a: {CODE}')
    (tmp_path / name).write_bytes(HOSTILE[name].encode(errors='surrogateescape'))
    with pytest.raises(ConfigError, match=r'\.(yaml|yml|json)'):
        load_config(tmp_path / name)
    assert not (tmp_path / 'ran').exists()


def test_a_yaml_base_of_a_python_config_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'tagged.yaml').write_text(f'a: {CODE}')
    (tmp_path / 'plain.yaml').write_text('a: 3')
    (tmp_path / 'top.py').write_text("_base_ = 'tagged.yaml'")
    with pytest.raises(ConfigError, match=r'top\.py'):
        load_config(tmp_path / 'top.py')
    assert not (tmp_path / 'ran').exists()
    (tmp_path / 'top.py').write_text("_base_ = 'plain.yaml'\nb = 4")
    assert dict(load_config(tmp_path / 'top.py'))['a'] == 3


def test_the_line_of_a_byte_that_is_not_utf8(tmp_path):
    (tmp_path / 'a.yaml').write_bytes(b'a: 1\nb: caf\xe9\n')
    with pytest.raises(ConfigError, match=r'a\.yaml cannot be read as text: line 2 holds'):
        load_config(tmp_path / 'a.yaml')
