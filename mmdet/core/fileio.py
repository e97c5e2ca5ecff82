"""Writing files so that a reader never sees half of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'w') -> Iterator[IO]:
    """Open `path` for writing; the file appears whole when the block ends, or not at all.

    The bytes go to `.NAME.TOKEN.tmp` in the same folder (a rename is atomic only within one file
    system), are flushed and fsynced, and take the name by `os.replace`. When the block raises, the
    temporary file is removed and what was at `path` stays as it was. A killed process leaves at
    most the temporary file behind. Missing parent folders are made; a symbolic link at `path` is
    followed, as `open` does; text is UTF-8.

    Args:
        path: the file to write or replace.
        mode: 'w' for text, 'wb' for bytes.

    Raises:
        ValueError: for any other mode.
        OSError: the folder cannot be written, the disk is full, or `path` is a folder.
    """
    if mode not in ('w', 'wb'):
        raise ValueError(f"atomic_write got mode {mode!r}. Legal: 'w' (text) or 'wb' (bytes).")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f'Cannot write the file {path}: a folder of that name exists.')
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'.{target.name}.{secrets.token_hex(4)}.tmp')
    # 'x' and not tempfile.mkstemp: the file gets the permissions of the umask, not 0600
    file = open(temporary, mode.replace('w', 'x'), encoding=None if 'b' in mode else 'utf-8')
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
