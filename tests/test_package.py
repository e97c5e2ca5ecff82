"""The package as such."""

import warnings
from importlib import metadata
from pathlib import Path

import mmdet


def test_a_namesake_is_reported_with_both_paths(tmp_path, monkeypatch):
    folder = tmp_path / 'mmdet-3.3.0.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmdet\nVersion: 3.3.0\n')
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        mmdet._warn_of_namesake()
    (message,) = (str(w.message) for w in caught)
    assert str(tmp_path / 'mmdet') in message
    assert mmdet.__file__ in message
    assert '3.3.0' in message


def test_alone_it_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        mmdet._warn_of_namesake()


def test_version_is_that_of_setup_py():
    setup = Path(mmdet.__file__).parents[1] / 'setup.py'
    assert f"version='{mmdet.__version__}'" in setup.read_text()
    assert metadata.version('vfe-pytorch') == mmdet.__version__
