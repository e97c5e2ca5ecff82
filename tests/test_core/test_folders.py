"""Paths from files stay below the folder they are meant for."""

import os

import pytest

from mmdet.core.errors import UnsafePathError
from mmdet.core.folders import contained


def test_names_inside(tmp_path):
    assert contained(tmp_path, 'a/b.jpg') == tmp_path.resolve() / 'a/b.jpg'
    assert contained(tmp_path, 'a/../b.jpg') == tmp_path.resolve() / 'b.jpg'
    assert contained(tmp_path, tmp_path / 'c') == tmp_path.resolve() / 'c'
    assert contained(tmp_path, '..jpg').name == '..jpg'


@pytest.mark.parametrize(
    'name', ['..', '../x', 'a/../../x', '/etc/passwd', '', '.', 'a/..', 'x\0y', '../' * 50 + 'etc']
)
def test_names_that_lead_out(tmp_path, name):
    with pytest.raises(UnsafePathError, match='The name'):
        contained(tmp_path / 'folder', name, 'The name')


def test_a_sibling_with_the_same_beginning_is_outside(tmp_path):
    with pytest.raises(UnsafePathError):
        contained(tmp_path / 'run', tmp_path / 'run2/x')


def test_links_are_followed_before_the_question(tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / 'out').symlink_to(tmp_path)
    (folder / 'in').symlink_to(folder / 'real')
    os.symlink('loop', folder / 'loop')
    assert contained(folder, 'in/x') == folder.resolve() / 'real/x'
    for name in ('out/x', 'out', 'loop/x'):
        with pytest.raises(UnsafePathError):
            contained(folder, name)
