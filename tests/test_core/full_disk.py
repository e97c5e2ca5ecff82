"""A small disk that really fills up, and folders that cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, options: str = 'size=256k') -> Iterator[Path | None]:
    """A tmpfs with these options, or None where mounting is not allowed."""
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(['umount', '-l', str(folder)], check=False)


@contextmanager
def read_only(folder: Path) -> Iterator[Path | None]:
    """The folder, which nobody can write to; None where even that does not stop us (root)."""
    if os.getuid() == 0:
        with small_disk(folder, 'ro') as mounted:
            yield mounted
        return
    folder.mkdir(mode=0o500)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
