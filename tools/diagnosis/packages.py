"""Do the packages of setup.py import, and are they new enough? Which optional ones are there?"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from diagnosis.finding import FAULT, NOTE, OFF, OK, Check, Finding, one_line

PACKAGES = 'Packages'  # the section
REPO = Path(__file__).resolve().parents[2]
# where the module is not called as the distribution
MODULES = {
    'mmengine-lite': 'mmengine',
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'tensorboard': 'torch.utils.tensorboard',
}
# distributions that bring the same module; the first one is what setup.py asks for
SAME_MODULE = {
    'mmengine-lite': ('mmengine-lite', 'mmengine', 'onedl-mmengine'),
    'opencv-python-headless': (
        'opencv-python-headless',
        'opencv-python',
        'opencv-contrib-python-headless',
        'opencv-contrib-python',
    ),
}
# what an optional package is for; those of setup.py's extras appear by themselves
PURPOSE = {
    'tensorboard': 'training curves in TensorBoard',
    'supervision': 'hand over detections with to_supervision()',
    'gradio': 'web page for trying a model',
}
NOT_FOR_USERS = ('dev',)


def package_checks() -> list[Check]:
    """One check per required package, then one per optional feature."""
    try:
        required, extras = requirements()
    except Exception as error:
        return [Check(PACKAGES, 'setup.py', partial(_unreadable_setup, error))]
    checks = [
        Check(PACKAGES, name, partial(check_required, name, lower))
        for name, lower in map(split_requirement, required)
    ]
    features = {name: needs for name, needs in extras.items() if name not in NOT_FOR_USERS}
    features.setdefault('supervision', ['supervision'])
    return checks + [
        Check('Optional features', name, partial(check_feature, name, needs))
        for name, needs in features.items()
    ]


def _unreadable_setup(error: Exception) -> Iterator[Finding]:
    advice = 'run tools/doctor.py of a whole checkout'
    yield Finding('setup.py', f'cannot be read: {one_line(error)}', FAULT, advice)


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """`install_requires` and `extras_require` of setup.py, without running it."""
    tree = ast.parse((REPO / 'setup.py').read_text(encoding='utf-8'))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (setup,) = (call for call in calls if getattr(call.func, 'id', '') == 'setup')
    values = {keyword.arg: keyword.value for keyword in setup.keywords}
    return tuple(ast.literal_eval(values[k]) for k in ('install_requires', 'extras_require'))


def split_requirement(text: str) -> tuple[str, str]:
    """('torch', '2.4') of 'torch>=2.4'; '' where there is no lower bound."""
    name, _, lower = re.match(r'([\w.-]+)(\[.*\])?(?:>=([\w.]+))?', text).groups()
    return name, lower or ''


def check_required(name: str, lower: str) -> Iterator[Finding]:
    wanted = f"'{name}>={lower}'" if lower else name
    try:
        module = importlib.import_module(module_of(name))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        yield _not_importable(name, wanted, error)
        return
    found = installed(name)
    version = found[0][1] if found else str(getattr(module, '__version__', 'unknown version'))
    shown = f'{version} ({found[0][0]})' if found and found[0][0] != name else version
    if numbers(version) < numbers(lower):
        yield Finding(name, f'{shown} is too old', FAULT, f'pip install --upgrade {wanted}')
    else:
        yield Finding(name, shown)
    if len(found) > 1:
        names = [distribution for distribution, _ in found]
        yield Finding(
            name,
            f'{" and ".join(names)} write the same files',
            NOTE,
            f'pip uninstall {" ".join(names)} && pip install {wanted}',
        )


def _not_importable(name: str, wanted: str, error: BaseException) -> Finding:
    if isinstance(error, ModuleNotFoundError) and error.name == module_of(name):
        return Finding(name, 'not installed', FAULT, f'pip install {wanted}')
    advice = f'pip install --force-reinstall {wanted}'
    if name == 'torchvision':
        advice = 'pip install --upgrade --force-reinstall torch torchvision   (they go in pairs)'
    return Finding(name, f'does not import: {one_line(error)}', FAULT, advice)


def check_feature(name: str, needs: list[str]) -> Iterator[Finding]:
    purpose = PURPOSE.get(name, '')
    command = f'pip install {" ".join(repr(n) if ">" in n else n for n in needs)}'
    packages = [split_requirement(need)[0] for need in needs]
    try:
        for package in packages:
            importlib.import_module(module_of(package))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        absent = isinstance(error, ModuleNotFoundError)
        why = '' if absent else f'; does not import: {one_line(error)}'
        yield Finding(name, f'{purpose}{why}', OFF, command)
        return
    versions = [version for package in packages for _, version in installed(package)[:1]]
    yield Finding(name, f'{purpose} ({", ".join(versions)})', OK)


def module_of(name: str) -> str:
    return MODULES.get(name, name.replace('-', '_'))


def installed(name: str) -> list[tuple[str, str]]:
    """(distribution, version) of those installed that bring the module of `name`."""
    found = []
    for distribution in SAME_MODULE.get(name, (name,)):
        try:
            found.append((distribution, metadata.version(distribution)))
        except metadata.PackageNotFoundError:
            continue
    return found


def numbers(version: str) -> tuple[int, ...]:
    """(2, 14, 1) of '2.14.1+cu130'."""
    release = re.match(r'[\d.]*', version).group()
    return tuple(int(part) for part in release.split('.') if part)


def check_python() -> Iterator[Finding]:
    text = (REPO / 'setup.py').read_text(encoding='utf-8')
    lower = re.search(r"python_requires='>=([\d.]+)'", text).group(1)
    version = '.'.join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < numbers(lower):
        advice = f'make an environment with Python {lower} or newer'
        yield Finding('Python', f'{version} is too old', FAULT, advice)
    else:
        yield Finding('Python', f'{version} ({sys.executable})')
