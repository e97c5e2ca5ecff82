"""`make` and the environment it makes: which Python, when it installs, what it says."""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def make_venv(repo, tmp_path, monkeypatch):
    """tools/make_venv.py working on a copy of the repository's few files it reads."""
    spec = importlib.util.spec_from_file_location('make_venv', repo / 'tools' / 'make_venv.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    checkout = tmp_path / 'checkout'
    checkout.mkdir()
    (checkout / 'requirements.txt').write_text('numpy\n')
    venv = checkout / '.venv'
    paths = dict(REPO=checkout, VENV=venv, PYTHON=venv / 'bin' / 'python')
    paths |= dict(REQUIREMENTS=checkout / 'requirements.txt')
    paths |= dict(STAMP=venv / '.installed', MARKER=venv / '.installing')
    for name, value in paths.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture
def calls(make_venv, monkeypatch) -> list:
    """Replaces pip and venv by notes of what would have run."""
    made: list = []

    def fake_call(command, **kwargs):
        if command[1:3] == ['-m', 'venv']:
            made.append('venv')
            make_venv.PYTHON.parent.mkdir(parents=True)
            make_venv.PYTHON.symlink_to(sys.executable)
            return 0
        return subprocess.Popen(command, **kwargs).wait()

    monkeypatch.setattr(make_venv.subprocess, 'call', fake_call)
    monkeypatch.setattr(make_venv, 'pip_install', lambda what, _: made.append(what))
    monkeypatch.setattr(make_venv, 'check_installation', lambda: None)
    return made


def fake_python(folder: Path, name: str, answer: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\n{answer}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    'target, wanted',
    [
        ('quickstart', '.venv/bin/python tools/quickstart.py'),
        ('test', 'OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4'),
        ('lint', '.venv/bin/python -m ruff check .'),
    ],
)
def test_targets(repo, target, wanted):
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    command = ['make', '-n', '--no-print-directory', target]  # the tests themselves run under make
    run = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    lines = [line.strip() for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stderr
    assert 'tools/make_venv.py' in lines[-2]
    assert lines[-1] == wanted


def test_ci_runs_the_same_two_commands(repo):
    path = repo / '.ci' / 'run'
    commands = [x for x in path.read_text().splitlines() if x and not x.startswith('#')]
    assert os.access(path, os.X_OK)
    assert 'set -eu' in commands and commands[-2:] == ['make lint', 'make test']


def test_installs_once_and_again_when_the_requirements_change(make_venv, calls):
    everything = ['requirements.txt', 'this package']
    make_venv.main()
    assert calls == ['venv', *everything]
    make_venv.main()
    assert calls == ['venv', *everything]  # nothing to do
    make_venv.REQUIREMENTS.write_text('numpy\nscipy\n')
    make_venv.main()
    assert calls == ['venv', *everything, *everything]  # updated in place
    assert not make_venv.MARKER.exists()


def test_an_interrupted_installation_starts_afresh(make_venv, calls, monkeypatch, capsys):
    def interrupt(what, _):
        raise KeyboardInterrupt

    finish = make_venv.pip_install
    monkeypatch.setattr(make_venv, 'pip_install', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_venv.main()
    (make_venv.VENV / 'half a package').touch()
    monkeypatch.setattr(make_venv, 'pip_install', finish)
    make_venv.main()
    assert calls == ['venv', 'venv', 'requirements.txt', 'this package']
    assert not (make_venv.VENV / 'half a package').exists()
    assert 'interrupted' in capsys.readouterr().out


def test_a_broken_environment_is_made_again(make_venv, calls):
    make_venv.PYTHON.parent.mkdir(parents=True)
    make_venv.PYTHON.symlink_to('/nowhere/python3')  # its interpreter was removed
    make_venv.STAMP.write_text(make_venv.fingerprint())
    make_venv.main()
    assert calls[0] == 'venv'


def test_python_is_searched_on_the_path(make_venv, tmp_path, monkeypatch):
    monkeypatch.setattr(make_venv.sys, 'executable', '/nowhere/python3')
    monkeypatch.setenv('PATH', f'{tmp_path}:/bin')
    fake_python(tmp_path, 'python3.12', 'exit 127')  # a pyenv shim without its version
    fake_python(tmp_path, 'python3.11', 'echo "3 11"; echo venv')
    fake_python(tmp_path, 'python3.14', 'echo "3 14"; echo venv')
    assert make_venv.find_python() == 'python3.11'


def test_a_newer_python_is_used_with_a_word_of_warning(make_venv, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_venv.sys, 'executable', '/nowhere/python3')
    monkeypatch.setenv('PATH', str(tmp_path))
    fake_python(tmp_path, 'python3.14', 'echo "3 14"; echo venv')
    assert make_venv.find_python() == 'python3.14'
    assert 'Python 3.14 is newer than the tested ones (up to 3.12)' in capsys.readouterr().out


@pytest.mark.parametrize(
    'answer, sentence',
    [
        ('echo "3 8"; echo venv', r'Python 3\.10 or newer is needed.*make PYTHON='),
        ('echo "3 11"; exit 1', r'Python 3\.11 .*no venv module.*apt install python3\.11-venv'),
    ],
)
def test_no_fitting_python_is_one_sentence(make_venv, tmp_path, monkeypatch, answer, sentence):
    monkeypatch.setattr(make_venv.sys, 'executable', '/nowhere/python3')
    monkeypatch.setenv('PATH', str(tmp_path))
    fake_python(tmp_path, 'python3', answer)
    with pytest.raises(SystemExit, match=sentence):
        make_venv.find_python()


def test_pip_output_is_short_and_a_failure_shows_its_end(make_venv, capsys):
    make_venv.PYTHON.parent.mkdir(parents=True)
    lines = [
        'Requirement already satisfied: numpy',
        '  Downloading torch-2.whl (900.1 MB)',
        '  Downloading small-1.whl (12 kB)',
        'Installing collected packages: a, b, c',
        'ERROR: No matching distribution',
    ]
    fake_python(
        make_venv.PYTHON.parent, 'python', 'printf "%s\\n" ' + ' '.join(f'"{x}"' for x in lines)
    )
    make_venv.pip_install('requirements.txt', [])
    out = capsys.readouterr().out
    assert 'torch-2.whl (900.1 MB)' in out and 'unpacking 3 packages' in out
    assert 'small-1' not in out and 'already satisfied' not in out
    assert (make_venv.VENV / 'pip.log').read_text().splitlines() == lines
    fake_python(make_venv.PYTHON.parent, 'python', 'echo "some detail"; exit 3')
    with pytest.raises(SystemExit, match=r'could not install requirements.txt \(exit code 3'):
        make_venv.pip_install('requirements.txt', [])
    assert 'some detail' in capsys.readouterr().out
