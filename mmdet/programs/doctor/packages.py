"""Do the packages of setup.py import, are they new enough, and which optional ones are there?"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from mmdet.programs.doctor.finding import FAULT, NOTE, OFF, Check, Finding, one_line

REPO = Path(__file__).resolve().parents[3]
# where the module is not called as the distribution
MODULES = {
    'mmengine-lite': 'mmengine',
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'tensorboard': 'torch.utils.tensorboard',
}
# what an optional package is for; those of setup.py's extras appear by themselves
PURPOSE = {
    'tensorboard': 'training curves in TensorBoard',
    'app': 'web page for trying a model',
    'supervision': 'hand over detections with to_supervision()',
}


def package_checks() -> list[Check]:
    """One check per required package, then one per optional feature."""
    required, extras = setup_argument('install_requires'), setup_argument('extras_require')
    features = {name: needs for name, needs in extras.items() if name != 'dev'}
    features.setdefault('supervision', ['supervision'])
    return [
        Check('Packages', name_of(need), partial(check_required, need)) for need in required
    ] + [
        Check('Optional features', name, partial(check_feature, name, needs))
        for name, needs in features.items()
    ]


def setup_argument(name: str):
    """The literal that setup.py gives `setup` under this name, without running it."""
    tree = ast.parse((REPO / 'setup.py').read_text(encoding='utf-8'))
    (value,) = (n.value for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == name)
    return ast.literal_eval(value)


def name_of(requirement: str) -> str:
    return re.match(r'[\w.-]+', requirement).group()


def numbers(text: str) -> tuple[int, ...]:
    """(2, 14, 1) of '2.14.1+cu130' and of 'torch>=2.14.1'; () where there is no version."""
    release = re.match(r'[\d.]*', text.rpartition('>=')[2]).group()
    return tuple(int(part) for part in release.split('.') if part)


def check_python() -> Iterator[Finding]:
    lower = setup_argument('python_requires')
    version = '.'.join(map(str, sys.version_info[:3]))
    if sys.version_info < numbers(lower):
        advice = f'make an environment with Python {lower}'
        yield Finding('Python', f'{version} is too old', FAULT, advice)
    else:
        yield Finding('Python', f'{version} ({sys.executable})')


def check_required(need: str) -> Iterator[Finding]:
    name = name_of(need)
    module = MODULES.get(name, name.replace('-', '_'))
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            yield Finding(name, 'not installed', FAULT, f'pip install {need!r}')
        else:
            pair = ' torch' * (name == 'torchvision')  # they are built for each other
            advice = f'pip install --force-reinstall{pair} {need!r}'
            yield Finding(name, f'does not import: {one_line(error)}', FAULT, advice)
        return
    found = sorted(set(metadata.packages_distributions()[module]))
    version = metadata.version(found[0])
    shown = version if [x.lower() for x in found] == [name] else f'{version} ({", ".join(found)})'
    if numbers(version) < numbers(need):
        advice = f'pip install --upgrade {need!r}'
        yield Finding(name, f'{shown} is too old', FAULT, advice)
    else:
        yield Finding(name, shown)
    if len(found) > 1:
        advice = f'pip uninstall {" ".join(found)} && pip install {need!r}'
        yield Finding(name, f'{" and ".join(found)} write the same files', NOTE, advice)


def check_feature(name: str, needs: list[str]) -> Iterator[Finding]:
    packages = [name_of(need) for need in needs]
    try:
        for package in packages:
            importlib.import_module(MODULES.get(package, package))
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError)
        why = '' if absent else f'; does not import: {one_line(error)}'
        command = f'pip install {" ".join(map(repr, needs))}'
        yield Finding(name, f'{PURPOSE.get(name, "")}{why}', OFF, command)
    else:
        versions = ', '.join(map(metadata.version, packages))
        yield Finding(name, f'{PURPOSE.get(name, "")} ({versions})')
