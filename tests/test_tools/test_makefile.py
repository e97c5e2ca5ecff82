"""`make` and the environment it makes: when it installs."""

import runpy
import shutil
import subprocess
import sys

import pytest


def test_targets_make_the_environment_first(repo):
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    command = ['make', '-n', '--no-print-directory', 'test']
    run = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=True)
    *_, first, then = run.stdout.splitlines()
    assert 'tools/make_venv.py' in first and '.venv/bin/python ' in then
    assert {'make lint', 'make test'} < set((repo / '.ci/run').read_text().splitlines())


def test_it_installs_once_and_again_when_interrupted_or_changed(repo, tmp_path, monkeypatch):
    code, made, stops = runpy.run_path(str(repo / 'tools/make_venv.py')), [], ['install']
    python = tmp_path / '.env/bin/python'
    names = dict(REPO=tmp_path, VENV=tmp_path / '.env', PYTHON=python, STAMP=tmp_path / 'installed')
    code['main'].__globals__.update(names, find_python=lambda: sys.executable)

    def call(command, **_) -> int:
        made.append(next((k for k in ('install', 'venv') if k in command), 'doctor'))
        if made[-1] in stops:
            raise KeyboardInterrupt(stops.pop())
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return 0

    monkeypatch.setattr(subprocess, 'call', call)
    (tmp_path / 'requirements.txt').write_text('numpy\n')
    with pytest.raises(KeyboardInterrupt):
        code['main']()
    code['main']()
    code['main']()
    (tmp_path / 'requirements.txt').write_text('scipy\n')
    code['main']()
    whole = ['venv', 'install', 'doctor']
    assert made == ['venv', 'install', *whole, 'install', 'doctor']  # the last updates in place
