"""A floor of the package imports only from floors below it, and rooms of one floor do not meet."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmdet'
# top-down, as in docs/architecture.md
FLOORS = [
    {'programs'},
    {'apis'},
    {'engine'},
    {'evaluation', 'visualization'},
    {'models', 'datasets', 'video'},
    {'plans'},
    {'structures', 'registry', 'stage_plans'},
    {'core'},
]
HEIGHT = {room: len(FLOORS) - i for i, floor in enumerate(FLOORS) for room in floor}


def rooms_imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of every import from the package, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno} imports relatively: write the whole path'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split('.')
            if parts[0] == 'mmdet' and len(parts) > 1 and parts[1] != '__version__':
                yield node.lineno, parts[1]


@pytest.mark.parametrize('room', sorted(HEIGHT))
def test_a_room_imports_from_lower_floors_only(room):
    module = PACKAGE / f'{room}.py'
    wrong = [
        f'{path.relative_to(PACKAGE.parent)}:{line} imports mmdet.{other}'
        for path in ([module] if module.exists() else sorted((PACKAGE / room).rglob('*.py')))
        for line, other in rooms_imported(path)
        if other != room and HEIGHT[other] >= HEIGHT[room]
    ]
    assert not wrong, '\n'.join(wrong)


def test_every_room_has_a_floor():
    rooms = {p.name for p in PACKAGE.iterdir() if (p / '__init__.py').exists()}
    rooms |= {p.stem for p in PACKAGE.glob('*.py')} - {'__init__'}
    assert rooms == set(HEIGHT)
