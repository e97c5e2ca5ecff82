"""Paths from files stay below the folder they are meant for."""

import os

import pytest

from mmdet.core.errors import UnsafePathError
from mmdet.core.folders import contained

OUT = ['..', 'a/../../x', '/etc/passwd', '', 'a/..', 'x\0y', '../run2/x', 'out/x', 'loop/x']


def test_names_that_lead_out_are_refused(tmp_path):
    folder = tmp_path.resolve() / 'run'
    folder.mkdir()
    for name, target in {'out': tmp_path, 'in': folder / 'real', 'loop': 'loop'}.items():
        os.symlink(target, folder / name)
    inside = {'a/b.jpg': 'a/b.jpg', 'a/../b': 'b', '..jpg': '..jpg', 'in/x': 'real/x'}
    for name, path in inside.items():
        assert contained(folder, name) == folder / path
    assert contained(folder, folder / 'c') == folder / 'c'
    for name in OUT:
        with pytest.raises(UnsafePathError, match='The name'):
            contained(folder, name, 'The name')
