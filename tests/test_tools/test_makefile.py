"""`make` and the environment it makes: which Python, when it installs."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    'target, wanted',
    [
        ('quickstart', '.venv/bin/python tools/quickstart.py'),
        ('test', 'OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4'),
        ('lint', '.venv/bin/python -m ruff check .'),
    ],
)
def test_targets_make_the_environment_first(repo, target, wanted):
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    command = ['make', '-n', '--no-print-directory', target]  # the tests themselves run under make
    run = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    lines = [line.strip() for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stderr
    assert 'tools/make_venv.py' in lines[-2] and lines[-1] == wanted


def test_ci_runs_the_same_two_commands(repo):
    path = repo / '.ci' / 'run'
    commands = [x for x in path.read_text().splitlines() if x and not x.startswith('#')]
    assert os.access(path, os.X_OK)
    assert 'set -eu' in commands and commands[-2:] == ['make lint', 'make test']


class FakeCall:
    """Stands in for `subprocess.call`: notes the kind of command, makes what venv makes."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self.made: list[str] = []
        self.interrupt_at = ''
        self.codes: dict[str, int] = {}

    def __call__(self, command, **kwargs):
        kind = 'install' if 'install' in command else 'venv' if 'venv' in command else 'doctor'
        self.made.append(kind)
        if kind == self.interrupt_at:
            raise KeyboardInterrupt
        if kind == 'venv':
            self.python.parent.mkdir(parents=True)
            self.python.symlink_to(sys.executable)
        return self.codes.get(kind, 0)


@pytest.fixture
def make_venv(repo, tmp_path, monkeypatch):
    """tools/make_venv.py working on a copy of the repository's few files it reads."""
    spec = importlib.util.spec_from_file_location('make_venv', repo / 'tools' / 'make_venv.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / 'requirements.txt').write_text('numpy\n')
    monkeypatch.setattr(module, 'REPO', tmp_path)
    monkeypatch.setattr(module, 'VENV', tmp_path / '.env')
    monkeypatch.setattr(module, 'PYTHON', tmp_path / '.env/bin/python')
    monkeypatch.setattr(module, 'STAMP', tmp_path / '.env/.installed')
    monkeypatch.setattr(module.subprocess, 'call', FakeCall(module.PYTHON))
    monkeypatch.setattr(module, 'find_python', lambda: sys.executable)
    return module


EVERYTHING = ['venv', 'install', 'doctor']


def commands(make_venv) -> list[str]:
    """Those since the last time."""
    call = make_venv.subprocess.call
    made, call.made = call.made, []
    return made


def test_it_installs_once_and_again_when_the_requirements_change(make_venv):
    make_venv.main()
    assert commands(make_venv) == EVERYTHING
    make_venv.main()
    assert commands(make_venv) == []
    (make_venv.REPO / 'requirements.txt').write_text('numpy\nscipy\n')
    make_venv.main()
    assert commands(make_venv) == ['install', 'doctor']  # updated in place


@pytest.mark.parametrize(
    ('at', 'then'),
    [('venv', EVERYTHING), ('install', EVERYTHING), ('doctor', ['install', 'doctor'])],
)
def test_an_interrupted_installation_starts_afresh(make_venv, at, then):
    call = make_venv.subprocess.call
    call.interrupt_at = at
    with pytest.raises(KeyboardInterrupt):
        make_venv.main()
    call.interrupt_at = ''
    commands(make_venv)
    make_venv.main()
    assert commands(make_venv) == then


def test_a_failed_command_is_named_and_tried_again(make_venv):
    make_venv.subprocess.call.codes['install'] = 1
    with pytest.raises(SystemExit, match=r'pip install .* failed; the lines above say why'):
        make_venv.main()
    assert not list(make_venv.VENV.glob('tmp'))
    make_venv.subprocess.call.codes.clear()
    commands(make_venv)
    make_venv.main()
    assert commands(make_venv) == EVERYTHING


def test_an_environment_of_the_user_is_kept_and_one_without_python_is_not(make_venv):
    make_venv.PYTHON.parent.mkdir(parents=True)
    make_venv.PYTHON.symlink_to(sys.executable)
    (make_venv.VENV / 'mine').touch()
    make_venv.main()
    assert commands(make_venv) == ['install', 'doctor'] and (make_venv.VENV / 'mine').exists()
    make_venv.PYTHON.unlink()
    make_venv.PYTHON.symlink_to('/nowhere/python3')  # its interpreter was removed
    make_venv.main()
    assert commands(make_venv) == EVERYTHING


@pytest.mark.parametrize(
    ('own', 'on_path', 'found'),
    [
        ((3, 11), {'python3.12': 'exit 0'}, 'this'),
        ((3, 8), {'python3.12': 'exit 127', 'python3.11': 'exit 0'}, 'python3.11'),
        ((3, 14), {'python3.10': 'exit 0'}, 'python3.10'),
        ((3, 14), {}, 'this'),
        ((3, 8), {'uv': 'exit 0'}, '3.12'),
        ((3, 8), {}, None),
    ],
)
def test_which_python_is_taken(repo, tmp_path, own, on_path, found):
    """3.10 to 3.12 are tested. A shim of pyenv whose version is absent does not run."""
    for name, line in on_path.items():
        (tmp_path / name).write_text(f'#!/bin/sh\n{line}\n')
        (tmp_path / name).chmod(0o755)
    code = (
        'import sys; sys.path.insert(0, "tools"); import make_venv; '
        f'sys.version_info = (*{own}, 1); sys.executable = "this"; print(make_venv.find_python())'
    )
    environment = dict(PATH=str(tmp_path))
    command = [sys.executable, '-c', code]
    run = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True)
    if found is None:
        assert run.returncode == 1 and 'make PYTHON=/path/to' in run.stderr
    else:
        assert Path(run.stdout.strip()).name == found, run.stderr
