"""The package as such."""

import warnings
from importlib import metadata
from pathlib import Path

import mmdet


def test_a_namesake_is_reported_with_both_paths(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        mmdet._warn_of_namesake()  # alone it is silent
    folder = tmp_path / 'mmdet-3.3.0.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmdet\nVersion: 3.3.0\n')
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        mmdet._warn_of_namesake()
    (message,) = (str(w.message) for w in caught)
    assert all(word in message for word in (str(tmp_path / 'mmdet'), mmdet.__file__, '3.3.0'))


def test_version_is_that_of_setup_py():
    setup = Path(mmdet.__file__).parents[1] / 'setup.py'
    assert f"version='{mmdet.__version__}'" in setup.read_text()
    assert metadata.version('vfe-pytorch') == mmdet.__version__
