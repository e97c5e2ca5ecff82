"""Writing files so that a reader never sees half of one, and failures that name file and reason."""

import errno
import fcntl
import io
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mmdet.core.errors import WriteError

ADVICE = {
    errno.ENOSPC: 'Free space there (`df -h` shows it), or write elsewhere.',
    errno.EDQUOT: 'Your quota is used up: remove files, or write elsewhere.',
    errno.EFBIG: 'Files of that size are not allowed here (`ulimit -f`): write elsewhere.',
    errno.EROFS: 'The file system is read-only: write elsewhere.',
    errno.EACCES: 'Choose a folder that you may write to.',
    errno.EPERM: 'Choose a folder that you may write to.',
    errno.EIO: 'The disk reports a fault: write elsewhere.',
    errno.EEXIST: 'A file of that name is in the way: choose another name.',
    errno.ENOTDIR: 'A part of that path is a file: choose another folder.',
    errno.ENAMETOOLONG: 'The name is too long.',
    errno.ENOENT: 'The folder has gone.',
    errno.EMFILE: 'Too many files are open (`ulimit -n`).',
}
STALE_S = 60  # a writer locks its temporary file within that time


class _Recorded(io.FileIO):
    """Keeps why a write failed: libraries that write here report something else instead."""

    failure: OSError | None = None

    def write(self, data) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn what the system says in this block about `path`, its temporary file or its folder into
    a WriteError of one sentence; other errors stay as they are."""
    try:
        yield
    except OSError as error:
        if isinstance(error, WriteError) or error.errno not in ADVICE or not _about(error, path):
            raise
        raise write_error(path, error) from error


def write_error(path: str | os.PathLike, reason: Exception) -> WriteError:
    """The error that names the file, the reason and what to do. `reason` may be a library's."""
    failure = WriteError(f'cannot write {os.fspath(path)}: {system_sentence(reason)}')
    failure.errno = getattr(reason, 'errno', None)
    return failure


def system_sentence(reason: Exception) -> str:
    """What the system said, and what to do where that is known."""
    said = str(getattr(reason, 'strerror', None) or reason)
    advice = ADVICE.get(getattr(reason, 'errno', None))
    return f'{said}. {advice}' if advice else said


def _about(error: OSError, path: str | os.PathLike) -> bool:
    """Whether the file of an error is `path`, beside it, or a folder above it."""
    if error.filename is None or isinstance(error.filename, int):
        return True
    named, target = Path(os.fsdecode(error.filename)), Path(os.path.abspath(path))
    named = Path(os.path.abspath(named))
    return named == target or named in target.parents or named.parent == target.parent


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'w', sync: bool = True) -> Iterator[IO]:
    """Open `path` for writing; the file appears whole when the block ends, or not at all.

    The bytes go to `.NAME.TOKEN.tmp` in the same folder (a rename is atomic only within one file
    system), which takes the name by `os.replace`. When the block raises, what was at `path` stays.
    A killed process leaves at most the temporary file, which the next writer of `path` removes.
    Missing parent folders are made; a link at `path` is followed, as `open` does; text is UTF-8.

    Args:
        mode: 'w' for text, 'wb' for bytes.
        sync: wait for the disk, so that the file also survives a loss of power. Off for the
            thousands of pictures of a set, which are made again.

    Raises:
        WriteError: the folder cannot be written, the disk is full, or `path` is a folder; whatever
            the block raised because of it.
    """
    if mode not in ('w', 'wb'):
        raise ValueError(f"atomic_write got mode {mode!r}. Legal: 'w' (text) or 'wb' (bytes).")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise WriteError(f'cannot write {path}: a folder of that name exists')
    temporary = target.with_name(f'.{target.name}.{secrets.token_hex(4)}.tmp')
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target)
        # 'x' and not tempfile.mkstemp: the file gets the permissions of the umask, not 0600
        raw = _Recorded(temporary, 'x')
    file = io.BufferedWriter(raw)
    file = file if 'b' in mode else io.TextIOWrapper(file, encoding='utf-8')
    try:
        with file:
            with suppress(OSError):  # file systems without locks do without
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            with writing(target):
                file.flush()
                if sync:
                    os.fsync(file.fileno())
        with writing(target):
            os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if raw.failure is not None and not isinstance(error, WriteError):
            raise write_error(target, raw.failure) from error
        raise


def remove_stale(target: Path) -> None:
    """Remove temporary files that killed writers of `target` left: living ones hold a lock."""
    name = re.compile(re.escape(f'.{target.name}.') + r'[0-9a-f]{8}\.tmp')
    with suppress(OSError), os.scandir(target.parent) as entries:
        left = [e for e in entries if name.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
        for entry in left:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_S:
                with suppress(OSError), open(entry.path, 'rb') as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def check_writable(path: str | os.PathLike) -> None:
    """Try now what is to be written after hours: a file is made beside `path`, and removed; a
    WriteError where that fails."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise WriteError(f'cannot write {path}: a folder of that name exists')
    check_folder(target.parent, path)


def check_folder(folder: str | os.PathLike, wanted: str | os.PathLike | None = None) -> None:
    """The same for a folder that will get files; it is made. The error names `wanted`, or it."""
    folder = Path(folder)
    probe = folder / f'.{secrets.token_hex(8)}.tmp'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(probe, 'xb') as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise write_error(wanted or folder, error) from error
    finally:
        with suppress(OSError):
            probe.unlink()
