"""Reading a config file and changing it from the command line."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine import Config

from mmdet.core.errors import ConfigError
from mmdet.engine.config_data import is_data, read_data_config, read_python_config
from mmdet.registry import closest

Path_ = str | os.PathLike


def load_config(
    config: Path_ | Config, cfg_options: Mapping[str, Any] | None = None, work_dir: str = ''
) -> Config:
    """The config of `config` (a file, or one read already) with changes.

    Args:
        cfg_options: dotted keys and values, see `apply_options`.
        work_dir: where results go; else the config's, else ./work_dirs/<config name>.
    """
    cfg = config if isinstance(config, Config) else _read(config)
    apply_options(cfg, cfg_options or {})
    if work_dir:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = default_work_dir(cfg)
    return cfg


def default_work_dir(cfg: Config) -> str:
    """Where results go when nobody says where."""
    return os.path.join('work_dirs', Path(cfg.filename or 'unnamed').stem)


def _read(path: Path_) -> Config:
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob('*.py'))
        raise ConfigError(f'No config file {path}. {closest(path.name, near)}')
    if is_data(path):
        return read_data_config(path)
    try:
        return read_python_config(path)
    except Exception as error:
        raise ConfigError(f'Cannot read the config {path}: {type(error).__name__}: {error}') from (
            error
        )


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Set `a.b.0.c=value` entries; digits index lists.

    All keys but the last must exist, so that a typing error does not make a new branch; whether the
    last one is taken is checked with its constructor.
    """
    for key, value in options.items():
        parent = _follow(cfg, key.split('.')[:-1], '--cfg-options')
        last = key.split('.')[-1]
        if isinstance(parent, list):
            _check_index(parent, last, f'--cfg-options {key}')
        elif not isinstance(parent, Mapping):
            raise ConfigError(
                f'--cfg-options {key}: what is before the last dot is {parent!r}, which has no '
                f'keys. Set it as a whole.'
            )
        before = parent[int(last)] if isinstance(parent, list) else parent.get(last)
        if isinstance(before, (list, tuple)) and isinstance(value, str):
            raise ConfigError(
                f'--cfg-options {key}: {value!r} is a text, but the config has a list there. Write '
                f"it as one: '{key}=[{value}]'."
            )
        cfg.merge_from_dict({key: value})


def value_at(cfg: Config, key: str) -> Any:
    """What is at `a.b.0.c`; digits index lists."""
    parts = key.split('.')
    parent = _follow(cfg, parts[:-1], '--key', (list, tuple))
    if not isinstance(parent, (Mapping, list, tuple)):
        raise ConfigError(f'--key {key}: what is before the last dot is {parent!r}, without keys.')
    return _follow(cfg, parts, '--key', (list, tuple))


def _follow(cfg: Config, parts: list[str], flag: str, indexed: tuple[type, ...] = (list,)) -> Any:
    """The value at a path, or the first value on the way that has no keys.

    Args:
        indexed: types that digits index; an option cannot change a part of a tuple.
    """
    node = cfg._cfg_dict
    for depth, part in enumerate(parts):
        done = '.'.join(parts[: depth + 1])
        if isinstance(node, indexed):
            _check_index(node, part, f'{flag} {done}')
            node = node[int(part)]
        elif isinstance(node, Mapping):
            if part not in node:
                raise ConfigError(f'{flag}: there is no `{done}`. {closest(part, node)}')
            node = node[part]
        else:
            return node
    return node


def _check_index(items: Sequence, part: str, where: str) -> None:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(
            f'{where}: {part!r} is no index of a list of {len(items)} '
            f'(legal: 0 to {len(items) - 1}).'
        )
