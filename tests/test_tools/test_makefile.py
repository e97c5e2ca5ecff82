"""`make` and the environment it makes: when it installs."""

import runpy
import shutil
import subprocess
import sys

import pytest

EVERYTHING = ['venv', 'install', 'doctor']


@pytest.mark.parametrize('target', ['quickstart', 'test', 'lint'])
def test_targets_make_the_environment_first(repo, target):
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    command = ['make', '-n', '--no-print-directory', target]
    run = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=True)
    *_, first, then = run.stdout.splitlines()
    assert 'tools/make_venv.py' in first and '.venv/bin/python ' in then
    assert {'make lint', 'make test'} < set((repo / '.ci/run').read_text().splitlines())


@pytest.fixture
def make_venv(repo, tmp_path, monkeypatch):
    """Runs tools/make_venv.py on a copy of its input; the kinds of commands that it starts. It ends
    at the one named `interrupted` as by Ctrl-C."""
    code = runpy.run_path(str(repo / 'tools/make_venv.py'))
    venv = tmp_path / '.env'
    names = dict(REPO=tmp_path, VENV=venv, PYTHON=venv / 'bin/python', STAMP=venv / '.installed')
    code['main'].__globals__.update(names, find_python=lambda: sys.executable)
    (tmp_path / 'requirements.txt').write_text('numpy\n')

    def make(interrupted: str = '', failing: str = '') -> list[str]:
        made = []

        def call(command, **_) -> int:
            made.append(next((k for k in ('install', 'venv') if k in command), 'doctor'))
            if made[-1] == interrupted:
                raise KeyboardInterrupt
            if made[-1] == 'venv':
                names['PYTHON'].parent.mkdir(parents=True)
                names['PYTHON'].symlink_to(sys.executable)
            return int(made[-1] == failing)

        monkeypatch.setattr(subprocess, 'call', call)
        code['main']()
        return made

    make.folder, make.python = tmp_path, names['PYTHON']
    return make


def test_it_installs_once_and_again_when_the_requirements_change(make_venv):
    assert make_venv() == EVERYTHING and make_venv() == []
    (make_venv.folder / 'requirements.txt').write_text('numpy\nscipy\n')
    assert make_venv() == ['install', 'doctor']  # updated in place
    make_venv.python.unlink()
    make_venv.python.symlink_to('/nowhere/python3')  # its interpreter was removed
    assert make_venv() == EVERYTHING


@pytest.mark.parametrize('at', EVERYTHING)
def test_what_did_not_end_well_is_made_again(make_venv, at):
    again = EVERYTHING[1:] if at == 'doctor' else EVERYTHING  # the packages are whole
    with pytest.raises(KeyboardInterrupt):
        make_venv(interrupted=at)
    assert make_venv() == again
    (make_venv.folder / 'requirements.txt').write_text('scipy\n')
    with pytest.raises(SystemExit, match=r'pip install .* failed'):
        make_venv(failing='install')
    assert make_venv() == EVERYTHING


@pytest.mark.parametrize(
    ('own', 'on_path', 'found'),
    [
        ((3, 11), {'python3.12': 'exit 0'}, 'this'),
        ((3, 8), {'python3.12': 'exit 127', 'python3.11': 'exit 0'}, 'python3.11'),
        ((3, 14), {}, 'this'),
        ((3, 8), {'uv': 'exit 0'}, '3.12'),
        ((3, 8), {}, 'make PYTHON=/path/to'),
    ],
)
def test_which_python_is_taken(repo, tmp_path, monkeypatch, own, on_path, found):
    """3.10 to 3.12 are tested. A shim of pyenv whose version is absent does not run."""
    for name, line in on_path.items():
        (tmp_path / name).write_text(f'#!/bin/sh\n{line}\n')
        (tmp_path / name).chmod(0o755)
    find_python = runpy.run_path(str(repo / 'tools/make_venv.py'))['find_python']
    with monkeypatch.context() as patch:
        patch.setenv('PATH', str(tmp_path))
        patch.setattr(sys, 'version_info', (*own, 1))
        patch.setattr(sys, 'executable', 'this')
        try:
            said = find_python()
        except SystemExit as error:
            said = str(error)
    assert said.endswith(found) or f'`{found}' in said
