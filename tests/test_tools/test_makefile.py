"""`make` and the environment it makes: when it installs."""

import runpy
import shutil
import subprocess
import sys

import pytest

EVERYTHING = ['venv', 'install', 'doctor']


def test_targets_make_the_environment_first(repo):
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    command = ['make', '-n', '--no-print-directory', 'test']
    run = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=True)
    *_, first, then = run.stdout.splitlines()
    assert 'tools/make_venv.py' in first and '.venv/bin/python ' in then
    assert {'make lint', 'make test'} < set((repo / '.ci/run').read_text().splitlines())


def test_it_installs_once_and_what_was_interrupted_or_changed_again(repo, tmp_path, monkeypatch):
    code, made, stops = runpy.run_path(str(repo / 'tools/make_venv.py')), [], list(EVERYTHING)
    python = tmp_path / '.env/bin/python'
    names = dict(REPO=tmp_path, VENV=tmp_path / '.env', PYTHON=python, STAMP=tmp_path / 'installed')
    code['main'].__globals__.update(names, find_python=lambda: sys.executable)
    requirements = tmp_path / 'requirements.txt'

    def call(command, **_) -> int:
        made.append(next((k for k in ('install', 'venv') if k in command), 'doctor'))
        if stops and made[-1] == stops[0]:
            raise KeyboardInterrupt(stops.pop(0))
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return 0

    def make() -> list[str]:
        made.clear()
        code['main']()
        return made

    monkeypatch.setattr(subprocess, 'call', call)
    requirements.write_text('numpy\n')
    for stop in EVERYTHING:
        with pytest.raises(KeyboardInterrupt, match=stop):
            make()
    assert make() == ['install', 'doctor'] and make() == []  # after the doctor packages are whole
    requirements.write_text('numpy\nscipy\n')
    assert make() == ['install', 'doctor']  # updated in place
    python.unlink()  # its interpreter was removed
    assert make() == EVERYTHING
