"""YAML and JSON configs are data: they say what Python configs say, and run nothing."""

import json

import pytest
import yaml
from mmengine import Config

from mmdet.core.errors import ConfigError
from mmdet.engine.config_load import load_config


@pytest.mark.parametrize('suffix', ['.json', '.yml'])
def test_what_python_says_data_can_say(repo, tmp_path, suffix):
    python = repo / 'configs/sample/faster_rcnn_r18.py'
    dump = json.dumps if suffix == '.json' else yaml.safe_dump
    base, top = tmp_path / f'base{suffix}', tmp_path / f'top{suffix}'
    base.write_text(dump({'_base_': str(python), 'train_cfg': {'max_epochs': 7}}))
    top.write_text(dump({'_base_': [base.name], 'model': {'train_cfg': None}}))
    cfg, expected = load_config(top), Config.fromfile(python)
    expected.merge_from_dict({'train_cfg.max_epochs': 7, 'model.train_cfg': None})
    assert cfg.model == expected.model and cfg.train_cfg == expected.train_cfg
    assert cfg.work_dir == 'work_dirs/top'


CODE = '!!python/object/apply:os.system ["touch ran"]'
ALIASES = [f'a{i + 1}: &a{i + 1} [{", ".join([f"*a{i}"] * 10)}]' for i in range(9)]
HOSTILE = {
    'tag.yaml': f'model: {CODE}',
    'base.yaml': '_base_: tagged.yaml',
    'base.py': "_base_ = 'tagged.yaml'",
    'escaped_base.json': '{"_base_": ["sub/../program.py"]}',
    'template.json': '{"{{$ENV:NOTHING:_base_}}": "program.py"}',
    'imports.yaml': 'custom_imports: {imports: [program]}',
    'scope.json': '{"default_scope": "program"}',
    'dotted.json': '{"model": {"type": "subprocess.getoutput", "cmd": "touch ran"}}',
    'loop.yaml': '_base_: loop.yaml',
    'anchor.yaml': 'a: &a [*a]',
    'laughs.yaml': '\n'.join(['a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]', *ALIASES]),
    'deep.yaml': 'a: ' + '[' * 500,
    'latin.yaml': 'a: 1\nb: \udce9',
    'huge.json': '{"a": "' + 'x' * 2_000_000 + '"}',
}


@pytest.mark.parametrize('name', HOSTILE)
def test_nothing_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'program.py').write_text("open('ran', 'w')")
    (tmp_path / 'tagged.yaml').write_text(f'a: {CODE}')
    (tmp_path / name).write_bytes(HOSTILE[name].encode(errors='surrogateescape'))
    with pytest.raises(ConfigError, match=r'\.(yaml|json|py)'):
        load_config(tmp_path / name)
    assert not (tmp_path / 'ran').exists()
