"""Which `mmdet` is imported: this package has the name of OpenMMLab's."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from diagnosis.finding import FAULT, NOTE, Finding
from diagnosis.packages import REPO

OURS = REPO / 'mmdet'
INSTALL = 'pip install -e .   (in this checkout)'


def check_namesake() -> Iterator[Finding]:
    found = imported_folder()
    if found is None:
        yield Finding('mmdet', 'this package is not installed', FAULT, INSTALL)
    elif not is_vfe(found):
        what = f'`import mmdet` finds another package: {found}{_version()}; this one is {OURS}'
        yield Finding('mmdet', what, FAULT, _removal(found))
    elif not found.samefile(OURS):
        what = f'`import mmdet` finds {found}, not this checkout ({OURS})'
        yield Finding('mmdet', what, NOTE, INSTALL)
    else:
        yield Finding('mmdet', str(found))
    if found is not None and is_vfe(found):
        for other in others(found):
            what = f'another mmdet is there, too: {other}; in use is {found}'
            yield Finding('mmdet', what, NOTE, _removal(other))


def imported_folder() -> Path | None:
    """The folder that `import mmdet` would take, without importing it."""
    spec = importlib.util.find_spec('mmdet')
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def is_vfe(folder: Path) -> bool:
    """Whether it is this package, of any version from 3 on."""
    text = (folder / '__init__.py').read_text(encoding='utf-8', errors='replace')
    return 'vfe.pytorch' in text[:500]


def others(found: Path) -> list[Path]:
    """Folders of other packages of the name, on the path or installed."""
    folders = [Path(entry or '.').resolve() / 'mmdet' for entry in sys.path]
    if _distribution() is not None:
        folders.append(Path(_distribution().locate_file('mmdet')).resolve())
    present = [folder for folder in folders if (folder / '__init__.py').is_file()]
    return [p for p in dict.fromkeys(present) if p != found and not is_vfe(p)]


def _distribution() -> metadata.Distribution | None:
    try:
        return metadata.distribution('mmdet')
    except metadata.PackageNotFoundError:
        return None


def _version() -> str:
    return f' (mmdet {_distribution().version})' if _distribution() else ''


def _removal(folder: Path) -> str:
    on_path = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    if str(folder.parent) in {str(Path(entry).resolve()) for entry in on_path if entry}:
        return f'take {folder.parent} out of PYTHONPATH'
    return f'pip uninstall mmdet && {INSTALL}'
