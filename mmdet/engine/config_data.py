"""Configs in YAML and JSON: data, which cannot run code, whoever wrote them.

mmengine reads YAML with a loader that calls what the file names, imports `custom_imports`, and
builds any function whose dotted path stands at `type`. Python configs are programs by nature.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml
from mmengine import Config
from mmengine.config import ConfigDict
from mmengine.fileio import BaseFileHandler
from mmengine.fileio.io import file_handlers

import mmdet
from mmdet.core.errors import ConfigError
from mmdet.core.text import parsed, read_text

DATA_SUFFIXES = ('.yaml', '.yml', '.json')
OUR_CONFIGS = Path(mmdet.__file__).resolve().parents[1] / 'configs'
MAX_BYTES = 1 << 20
MAX_VALUES = 100_000  # counted as often as they appear: YAML aliases can multiply
MAX_DEPTH = 50
SCOPES = ('mmdet', 'mmengine', None)


class PlainYaml(BaseFileHandler):
    """Takes the place of mmengine's reader, for YAML files that Python configs have as bases."""

    def load_from_fileobj(self, file: IO, **_) -> Any:
        return yaml.safe_load(file)

    def dump_to_fileobj(self, obj: Any, file: IO, **_) -> None:
        yaml.safe_dump(obj, file)

    def dump_to_str(self, obj: Any, **_) -> str:
        return yaml.safe_dump(obj)


def read_python_config(path: Path) -> Config:
    """The config of a Python file, which runs; bases in YAML do not."""
    plain = PlainYaml()
    file_handlers.update({'yaml': plain, 'yml': plain})
    return Config.fromfile(str(path), import_custom_modules=False)


def is_data(path: Path) -> bool:
    return path.suffix.lower() in DATA_SUFFIXES


def read_data_config(path: Path) -> Config:
    """The config of a YAML or JSON file with its bases, which may be such files, or Python configs
    of this toolbox; ConfigError: it is too large, or has a part that only a program may have."""
    merged = _merged(path, ())
    return Config(merged, cfg_text=read_text(path, ConfigError), filename=str(path))


def _merged(path: Path, above: tuple[Path, ...]) -> dict:
    path = path.resolve()
    if path in above or len(above) > MAX_DEPTH:
        raise ConfigError(f'The config {path} has itself as a base.')
    own = _parsed(path)
    bases = own.pop('_base_', [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f'{path}: `_base_` must be a path or a list of paths.')
    result: dict = {}
    for base in bases:
        found = _base(path.parent / base, path, above)
        twice = result.keys() & found.keys()
        if twice:
            raise ConfigError(f'{path}: two of its bases have the key {sorted(twice)[0]!r}.')
        result |= found
    return Config._merge_a_into_b(ConfigDict(own), ConfigDict(result))


def _base(base: Path, path: Path, above: tuple[Path, ...]) -> Mapping:
    if not base.is_file():
        raise ConfigError(f'{path}: there is no base {base}.')
    if is_data(base):
        return _merged(base, (*above, path))
    if base.suffix != '.py' or not base.resolve().is_relative_to(OUR_CONFIGS):
        raise ConfigError(
            f'{path} is a data config, which runs no code, but its base {base} is a program that '
            f'does not come with this toolbox. Read it, and use it from a Python config.'
        )
    return read_python_config(base)._cfg_dict


def _parsed(path: Path) -> dict:
    """The dict in one file, checked."""
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(
            f'{path} has {path.stat().st_size} bytes. A config has at most {MAX_BYTES}.'
        )
    parse = json.loads if path.suffix.lower() == '.json' else yaml.safe_load
    found = parsed(parse, read_text(path, ConfigError), path, ConfigError)
    if not isinstance(found, dict):
        raise ConfigError(f'{path} holds a {type(found).__name__}, not a dict of settings.')
    _Checker(path).check(found, '', 0)
    return found


class _Checker:
    """Refuses in one file what names code to import or to call, and what grows without bound."""

    def __init__(self, path: Path) -> None:
        self.path, self._values = path, 0

    def check(self, value: Any, where: str, depth: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            raise ConfigError(
                f'{self.path} has more than {MAX_VALUES} values, or values nested more than '
                f'{MAX_DEPTH} deep.'
            )
        if isinstance(value, dict):
            for key, inner in value.items():
                self._entry(key, inner, f'{where}.{key}' if where else str(key))
                self.check(inner, f'{where}.{key}' if where else str(key), depth + 1)
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                self.check(inner, f'{where}.{i}', depth + 1)
        elif isinstance(value, str) and '{{' in value:
            self._refuse(f'`{where}` has a template')

    def _entry(self, key: Any, value: Any, where: str) -> None:
        if not isinstance(key, str) or '{{' in key:
            self._refuse(f'the key {where!r} is no plain text')
        if key == 'custom_imports':
            self._refuse('`custom_imports` names modules to import')
        if key == 'default_scope' and value not in SCOPES:
            self._refuse(f'`{where}` names a package to import')
        if key == 'type' and (not isinstance(value, str) or '.' in value):
            self._refuse(f'`{where}` is {str(value)[:60]!r}, which is no registered name')

    def _refuse(self, what: str) -> None:
        raise ConfigError(
            f'{self.path}: {what}. A YAML or JSON config is data and runs no code; what needs code '
            f'is written in a Python config.'
        )
