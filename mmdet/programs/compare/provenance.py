"""What a run was made from: config, code, PyTorch, annotations; and what of it has changed.

Frames of the data are not looked at: their annotation files are.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine import Config

from mmdet.core.errors import ConfigError
from mmdet.core.fileio import atomic_write
from mmdet.core.text import read_json
from mmdet.programs.compare.config_diff import differences

ROOT = Path(__file__).resolve().parents[3]
CODE = ('mmdet/**/*.py', 'tools/train.py', 'tools/test.py', 'tools/eval.py')
FILE = 'provenance.json'
NAMED = 3  # changes that a message lists of each kind
ABSENT = 'absent'

Provenance = dict[str, Any]


class Inspector:
    """Finds what runs are made from; looks at every file once."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        self._code: dict[str, str] | None = None

    def provenance(self, config: Path, start: Provenance | None = None) -> Provenance:
        """Of a run of `config`.

        Args:
            start: that of the run whose weights this one starts from.
        """
        cfg = Config.fromfile(config, import_custom_modules=False)
        if self._code is None:
            files = sorted(path for pattern in CODE for path in ROOT.glob(pattern))
            self._code = {str(p.relative_to(ROOT)): self.digest(p) for p in files}
        custom = {str(path): self.digest(path) for path in _custom_modules(cfg)}
        annotations = sorted(set(_ann_files(cfg.to_dict())))
        return {
            'config': cfg.pretty_text,
            'code': {**self._code, **custom},
            'torch': str(torch.__version__),
            'annotations': {path: self.digest(path) for path in annotations},
            'start': start and _text_digest(json.dumps(start, sort_keys=True)),
        }

    def digest(self, path: str | os.PathLike) -> str:
        """Of the bytes of a file, or 'absent'."""
        key = str(path)
        if key not in self._digests:
            self._digests[key] = _file_digest(key) if os.path.isfile(key) else ABSENT
        return self._digests[key]


def read(folder: Path) -> Provenance | None:
    """What was written to the folder of a run; None where nothing was."""
    path = folder / FILE
    return read_json(path, ConfigError) if path.is_file() else None


def write(folder: Path, provenance: Provenance) -> None:
    with atomic_write(folder / FILE) as file:
        json.dump(provenance, file, indent=1)


def changes(old: Provenance | None, new: Provenance) -> list[str]:
    """A clause for everything that is not as it was; empty when nothing is.

    Args:
        old: None: the run did not say what it was made from.
    """
    if old is None:
        return ['nothing says what it was made from']
    found = []
    if old['config'] != new['config']:
        found.append(f'the config changed ({_config_changes(old["config"], new["config"])})')
    if old['torch'] != new['torch']:
        found.append(f'PyTorch changed ({old["torch"]}, now {new["torch"]})')
    for kind in ('code', 'annotations'):
        files = [p for p in {**old[kind], **new[kind]} if old[kind].get(p) != new[kind].get(p)]
        if files:
            found.append(f'the {kind} changed ({_some(files)})')
    if old['start'] != new['start']:
        found.append('the run that it starts from changed')
    return found


def _config_changes(old: str, new: str) -> str:
    configs = [_parsed(text) for text in (old, new)]
    lines = [f'{key}: {before}, now {now}' for key, before, now in differences(*configs)]
    return _some(lines, '; ')


def _parsed(text: str) -> Config:
    """A config from its text, without importing the modules that it names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'config.py')
        path.write_text(text, encoding='utf-8')
        return Config.fromfile(path, import_custom_modules=False)


def _some(items: list[str], separator: str = ', ') -> str:
    more = f' and {len(items) - NAMED} more' if len(items) > NAMED else ''
    return separator.join(items[:NAMED]) + more


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_digest(path: str) -> str:
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()[:16]


def _ann_files(node: Any) -> Iterator[str]:
    """Every `ann_file` of a config."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == 'ann_file' and isinstance(value, str):
                yield value
            yield from _ann_files(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _ann_files(value)


def _custom_modules(cfg: Config) -> Iterator[Path]:
    """Sources of the modules in `custom_imports`, found as the commands find them."""
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    for name in [imports] if isinstance(imports, str) else imports:
        for place in [*sys.path, os.getcwd()]:
            base = Path(place, *name.split('.'))
            sources = [base.with_suffix('.py'), *sorted(base.glob('**/*.py'))]
            found = [path for path in sources if path.is_file()]
            if found:
                yield from found
                break
