"""Make `.venv` with requirements.txt and this package in it; nothing to do when that is done.

`make` runs it before everything else, with whatever Python 3 there is.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
VENV = REPO / '.venv'
PYTHON = VENV / 'bin' / 'python'
STAMP = VENV / '.installed'  # what was installed; empty during an installation
OLDEST, NEWEST_TESTED = (3, 10), (3, 12)


def find_python():
    """This Python if it is tested, else a tested one of the path, else a newer one."""
    if OLDEST <= sys.version_info[:2] <= NEWEST_TESTED:
        return sys.executable
    for minor in range(NEWEST_TESTED[1], OLDEST[1] - 1, -1):
        found = shutil.which(f'python3.{minor}')
        if found and not subprocess.call([found, '-c', '']):  # a pyenv shim may lack its version
            return found
    if sys.version_info < OLDEST and not shutil.which('uv'):
        sys.exit(
            f'make: Python 3.{OLDEST[1]} or newer is needed; {sys.executable} is '
            f'{sys.version.split()[0]} and no other was found. Install one, or name it: '
            f'`make PYTHON=/path/to/python3.12`.'
        )
    return '3.12' if sys.version_info < OLDEST else sys.executable  # uv downloads 3.12


def run(*command, **environment):
    command = list(map(str, command))
    if subprocess.call(command, cwd=str(REPO), env=dict(os.environ, **environment)):
        sys.exit(f'make: {" ".join(command)} failed; the lines above say why.')


def main():
    wanted = hashlib.sha256((REPO / 'requirements.txt').read_bytes() + bytes(REPO)).hexdigest()
    installed = STAMP.read_text() if STAMP.exists() else None
    if installed == wanted and PYTHON.exists():
        return
    uv = shutil.which('uv')
    if installed == '' or not PYTHON.exists():  # interrupted, never made, or its Python has gone
        python = find_python()
        print(f'Creating .venv with {python}', flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        try:
            run(*([uv, 'venv', '--seed', '-p', python] if uv else [python, '-m', 'venv']), VENV)
        except BaseException:
            shutil.rmtree(str(VENV), ignore_errors=True)
            raise
    STAMP.write_text('')
    pip = [uv, 'pip', 'install', '-p', PYTHON] if uv else [PYTHON, '-m', 'pip', 'install']
    temporary = VENV / 'tmp'  # /tmp is often too small for torch
    temporary.mkdir(exist_ok=True)
    try:
        run(*pip, '-r', 'requirements.txt', '-e', '.', TMPDIR=str(temporary))
    finally:
        shutil.rmtree(str(temporary), ignore_errors=True)
    STAMP.unlink()  # whatever comes now, the packages are whole
    run(PYTHON, 'tools/doctor.py')
    STAMP.write_text(wanted)


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nmake: interrupted; the next make starts the installation again.')
