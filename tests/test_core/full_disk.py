"""A small disk that really fills up, and folders that cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str = '256k', options: str = '') -> Iterator[Path | None]:
    """A tmpfs of that size, or None where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size}{options}', 'tmpfs', str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        done = None
    if done is None or done.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', str(folder)], check=False)


@contextmanager
def read_only(folder: Path) -> Iterator[Path | None]:
    """The folder, which nobody can write to; None where even that does not stop us (root)."""
    if os.getuid() == 0:
        with small_disk(folder, options=',ro') as mounted:
            yield mounted
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o500)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
