"""Paths from files stay below the folder they are meant for."""

import os

import pytest

from mmdet.core.errors import UnsafePathError
from mmdet.core.folders import contained


@pytest.fixture
def folder(tmp_path):
    """Has links inside, out, and in a loop."""
    made = tmp_path / 'run'
    made.mkdir()
    for name, target in {'out': tmp_path, 'in': made / 'real', 'loop': 'loop'}.items():
        os.symlink(target, made / name)
    return made.resolve()


def test_names_inside(folder):
    inside = {'a/b.jpg': 'a/b.jpg', 'a/../b': 'b', '..jpg': '..jpg', 'in/x': 'real/x'}
    for name, path in inside.items():
        assert contained(folder, name) == folder / path
    assert contained(folder, folder / 'c') == folder / 'c'


@pytest.mark.parametrize(
    'name',
    ['..', 'a/../../x', '/etc/passwd', '', 'a/..', 'x\0y', '../run2/x', 'out/x', 'loop/x'],
)
def test_names_that_lead_out(folder, name):
    with pytest.raises(UnsafePathError, match='The name'):
        contained(folder, name, 'The name')
