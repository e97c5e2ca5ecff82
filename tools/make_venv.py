"""Make `.venv` and install the pinned requirements and this package into it; a no-op when done.

`make` runs it before everything else. Any Python 3 may start it: it looks for one that fits, needs
nothing but the standard library, and keeps to syntax that old interpreters can read.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
VENV = REPO / '.venv'
PYTHON = VENV / 'bin' / 'python'
REQUIREMENTS = REPO / 'requirements.txt'
STAMP = VENV / '.installed'  # what was installed; written last
MARKER = VENV / '.installing'  # an installation began; removed last
OLDEST, NEWEST_TESTED = (3, 10), (3, 12)
PROBE = 'import sys; print(*sys.version_info[:2]); import ensurepip, venv; print("venv")'


def fail(sentence):
    sys.exit(f'make: {sentence}')


def probe(executable):
    """((major, minor), whether it can make environments), or None when it does not run."""
    try:
        run = subprocess.run(
            [executable, '-c', PROBE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
        words = run.stdout.split()
        return (int(words[0]), int(words[1])), 'venv' in words
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):
        return None


def find_python():
    """The interpreter to build on: the one that runs this, else a tested one on the PATH."""
    names = ['python3.12', 'python3.11', 'python3.13', 'python3.10', 'python3.14', 'python3']
    found = [(name, probe(name)) for name in [sys.executable] + names]
    fitting = [(name, *result) for name, result in found if result and result[0] >= OLDEST]
    tested = [row for row in fitting if row[2] and row[1] <= NEWEST_TESTED]
    for name, version, _ in tested + [row for row in fitting if row[2]]:
        if version > NEWEST_TESTED:
            print(
                f'Python {dotted(version)} is newer than the tested ones (up to '
                f'{dotted(NEWEST_TESTED)}): a pinned package may have no build for it. '
                f'`make PYTHON=python3.12` picks another.'
            )
        return name
    if fitting:
        name, version, _ = fitting[0]
        fail(
            f'Python {dotted(version)} ({name}) has no venv module. Install it (Debian, Ubuntu: '
            f'`sudo apt install python{dotted(version)}-venv`) and run make again.'
        )
    fail(
        f'Python {dotted(OLDEST)} or newer is needed; {sys.executable} is '
        f'{dotted(sys.version_info[:2])} and no other was found. Install one, or name it: '
        f'`make PYTHON=/path/to/python3.12`.'
    )


def dotted(version):
    return f'{version[0]}.{version[1]}'


def fingerprint():
    """Changes when the requirements do or when the checkout was moved."""
    return hashlib.sha256(REQUIREMENTS.read_bytes() + str(REPO).encode()).hexdigest()


def is_current():
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == fingerprint()


def make_environment():
    """An empty `.venv`, or the one that is there when it is sound."""
    if MARKER.exists():
        print('An earlier installation was interrupted: .venv is made again.', flush=True)
    elif PYTHON.exists():
        code = f'import pip, sys; sys.exit(sys.version_info < {OLDEST})'
        if not subprocess.call([str(PYTHON), '-c', code], stderr=subprocess.DEVNULL):
            return
    python = find_python()
    print(f'Creating .venv with {python}', flush=True)
    shutil.rmtree(str(VENV), ignore_errors=True)
    VENV.mkdir()
    MARKER.touch()
    if subprocess.call([python, '-m', 'venv', str(VENV)]):
        fail('the environment .venv could not be made; the lines above say why.')


def pip_install(what, arguments):
    """Run pip with a line per package and a sign of life every 10 s; its full output is kept."""
    log, temporary = VENV / 'pip.log', VENV / 'tmp'
    temporary.mkdir(exist_ok=True)  # here, because /tmp is often too small for torch
    command = [str(PYTHON), '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input']
    environment = dict(os.environ, TMPDIR=str(temporary), PYTHONUNBUFFERED='1')
    started = time.time()
    print(f'Installing {what} (pip; full output in .venv/pip.log)', flush=True)
    with open(log, 'a') as file:
        process = subprocess.Popen(
            command + ['--progress-bar', 'off'] + arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        done = threading.Event()
        threading.Thread(target=heartbeat, args=(done, temporary, started), daemon=True).start()
        try:
            tail = [show(line, file) for line in process.stdout][-25:]
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            done.set()
    shutil.rmtree(str(temporary), ignore_errors=True)
    if code:
        print(''.join(tail))
        fail(
            f'pip could not install {what} (exit code {code}, output above). '
            f'Run make again to retry.'
        )
    print(f'  done in {time.time() - started:.0f} s', flush=True)


def show(line, file):
    """Keep pip's line in the log; print it when it says what is going on."""
    file.write(line)
    words = line.split()
    if words[:1] == ['Downloading'] and ('GB' in line or 'MB' in line):
        print(f'  {line.strip()}', flush=True)
    elif line.startswith('Installing collected packages'):
        count = line.count(',') + 1
        print(f'  unpacking {count} package{"s" if count > 1 else ""}', flush=True)
    elif line.startswith(('ERROR', 'error')):
        print(f'  {line.rstrip()}', flush=True)
    return line


def heartbeat(done, temporary, started):
    """A line every 10 s, with what was downloaded while that still grows."""
    before = 0
    while not done.wait(10):
        try:
            size = sum(f.stat().st_size for f in temporary.rglob('*.whl'))
        except OSError:  # pip moved one away meanwhile
            continue
        loaded = f', {size / 1e6:.0f} MB downloaded' if size > before else ''
        before = size
        print(f'  ... {time.time() - started:.0f} s{loaded}', flush=True)


def check_installation():
    """Import what was installed; says so when another package named `mmdet` is in the way."""
    code = (
        'import pathlib, sys, torch, torchvision, cv2, av, mmengine, mmdet; '
        'print("  Python", sys.version.split()[0], "| torch", torch.__version__, "| torchvision", '
        'torchvision.__version__, "| CUDA", torch.cuda.is_available()); '
        'print(pathlib.Path(mmdet.__file__).resolve().parents[1])'
    )
    run = subprocess.run(
        [str(PYTHON), '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=str(VENV),
    )
    lines = run.stdout.splitlines()
    if run.returncode:
        print(run.stdout)
        fail('the installed packages do not import (see above). `rm -rf .venv` and run make again.')
    if lines[-1] != str(REPO):
        fail(
            f'`import mmdet` finds {lines[-1]}, not this checkout. '
            f'`rm -rf .venv` and run make again.'
        )
    print(lines[-2], flush=True)


def main():
    if is_current():
        return
    make_environment()
    MARKER.touch()
    pip_install('requirements.txt', ['-r', str(REQUIREMENTS)])
    pip_install('this package', ['-e', str(REPO), '--no-deps'])
    check_installation()
    STAMP.write_text(fingerprint())
    MARKER.unlink()


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nmake: interrupted; the next make starts the installation again.')
