"""Folders that cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def read_only(folder: Path) -> Iterator[Path | None]:
    """The folder, which nobody can write to; None where even that does not stop us: root needs a
    disk of its own, and may not be allowed to mount one."""
    folder.mkdir(mode=0o500)
    mount = ['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', str(folder)]
    is_root = os.getuid() == 0
    mounted = is_root and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield folder if mounted or not is_root else None
    finally:
        if mounted:
            subprocess.run(['umount', '-l', str(folder)], check=False)
        folder.chmod(0o700)
