"""The file that holds the flat arrays of an annotation file, mapped into memory by every process.

Layout: a header of `_HEADER` bytes (magic, length, SHA-256, JSON), then the arrays, each at a
multiple of 64 bytes. The header names the format version, the digest of the annotation file's
content and that of all arrays, so that a stale, truncated, damaged or foreign file is noticed.
(safetensors as the container copies the arrays into every process: its NumPy side does not map.)
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mmengine.logging import print_log

FORMAT_VERSION = 1
BLOCK = 1 << 20  # bytes per digest and per piece of parsing: 1 MiB parses fastest
_MAGIC = b'VFEINDEX'
_HEADER = 16384
_ALIGN = 64
_DAY_S = 86400

Key = dict[str, Any]


class StaleCache(Exception):
    """The file is not the index that was asked for, or not whole."""


@dataclass(frozen=True)
class Stored:
    """Read-only arrays and plain values; `path` and `digest` of the index file, if there is one."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    path: Path | None = None
    digest: str = ''


# --- digests -------------------------------------------------------------------------------------


def block_digest(block: bytes) -> bytes:
    return hashlib.sha256(block).digest()


def combine(digests: list[bytes]) -> str:
    """One digest from those of all blocks of a file, as hexadecimal digits."""
    return hashlib.sha256(b''.join(digests)).hexdigest()


def digest_of(file: BinaryIO, start: int = 0) -> str:
    """Digest of an open file's content from byte `start`, its blocks shared among threads.

    550 MB take 0.25 s on two cores with SHA instructions, so that every open can afford it.
    """
    descriptor = file.fileno()
    starts = range(start, os.fstat(descriptor).st_size, BLOCK)

    def digest_at(at: int) -> bytes:
        return block_digest(os.pread(descriptor, BLOCK, at))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return combine(list(pool.map(digest_at, starts)))


# --- where ---------------------------------------------------------------------------------------


def content_key(content: str, **options) -> Key:
    """What an index depends on: the digest of the annotation file and how it was read."""
    return {'version': FORMAT_VERSION, 'content': content, **options}


def file_name(key: Key) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f'{key["content"][:16]}-{digest[:16]}.index'


def cache_folders(ann_file: Path, cache_dir: str | os.PathLike | None) -> list[Path]:
    """Where an index may lie: the given folder, or beside the file, then in the user's cache."""
    ann_file = ann_file.absolute()
    place = hashlib.sha256(os.fsencode(ann_file.parent)).hexdigest()[:12]
    shared = Path(cache_dir or os.environ.get('VFE_CACHE') or '~/.cache/vfe')
    folder = shared.expanduser().absolute() / f'{ann_file.name}-{place}'
    beside = ann_file.with_name(f'.{ann_file.name}.vfe-cache')
    return [folder] if cache_dir else [beside, folder]


def first_writable(folders: list[Path]) -> Path | None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return folder
    return None


@contextlib.contextmanager
def building(folder: Path) -> Iterator[None]:
    """Let one process build at a time; the others wait, then find what it built.

    Only saves work: where a file system has no locks, several build and the last rename stays.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # it is empty if the build failed
            folder.rmdir()


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print_log(f'Waiting for another process to finish the index in {folder}', 'current')
        fcntl.flock(descriptor, fcntl.LOCK_EX)


# --- reading -------------------------------------------------------------------------------------


def read_index(path: Path, key: Key, digest: str | None = None) -> Stored:
    """Map an index file. Every byte is verified, unless `digest` says that this was done.

    Raises:
        StaleCache: the file is missing, damaged, or of another key or digest.
    """
    try:
        with open(path, 'rb') as file:
            header = _read_header(file)
            if header['key'] != key:
                raise StaleCache(f'{path} belongs to {header["key"]}')
            if header['digest'] != (digest or digest_of(file, _HEADER)):
                raise StaleCache(f'{path} is damaged')
            arrays = _map(file, header['arrays'])
            meta = json.loads(arrays.pop('meta').tobytes())
            return Stored(arrays, meta, path, header['digest'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StaleCache(f'{path}: {error}') from error


def _read_header(file: BinaryIO) -> dict[str, Any]:
    head = file.read(_HEADER)
    text = head[48 : 48 + int.from_bytes(head[8:16], 'little')]
    if head[:8] != _MAGIC or hashlib.sha256(text).digest() != head[16:48]:
        raise StaleCache(f'{file.name} is not an index file')
    header = json.loads(text)
    if os.fstat(file.fileno()).st_size != header['size']:
        raise StaleCache(f'{file.name} is cut short')
    return header


def _map(file: BinaryIO, places: dict[str, tuple[str, list[int], int]]) -> dict[str, np.ndarray]:
    whole = np.memmap(file, np.uint8, 'r')
    arrays = {}
    for name, (dtype, shape, start) in places.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays[name] = np.asarray(whole[start : start + size]).view(dtype).reshape(shape)
    return arrays


# --- writing -------------------------------------------------------------------------------------


def write_index(
    folder: Path, key: Key, arrays: dict[str, np.ndarray], meta: dict[str, Any]
) -> Path:
    """Write an index file under a temporary name, then rename it: never seen half written."""
    path = folder / file_name(key)
    temporary = path.with_name(f'{path.name}.{os.getpid()}-{time.time_ns()}.tmp')
    try:
        with open(temporary, 'xb+') as file:
            places = {}
            plain = np.frombuffer(json.dumps(meta).encode(), np.uint8)
            for name, array in (arrays | {'meta': plain}).items():
                start = max(file.seek(0, os.SEEK_END), _HEADER)
                file.seek(-(-start // _ALIGN) * _ALIGN)
                places[name] = (array.dtype.str, array.shape, file.tell())
                file.write(np.ascontiguousarray(array).data)
            _write_header(file, key, places)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _remove_old(folder, key)
    return path


def _write_header(file: BinaryIO, key: Key, places: dict[str, tuple]) -> None:
    file.flush()
    size = os.fstat(file.fileno()).st_size
    header = {'key': key, 'size': size, 'digest': digest_of(file, _HEADER), 'arrays': places}
    text = json.dumps(header).encode()
    file.seek(0)
    file.write(_MAGIC + len(text).to_bytes(8, 'little') + hashlib.sha256(text).digest() + text)


def _remove_old(folder: Path, key: Key) -> None:
    """Remove what earlier contents of the annotation file and killed builds left a day ago."""
    for path in folder.iterdir():
        current = path.suffix == '.index' and path.name.startswith(key['content'][:16])
        with contextlib.suppress(OSError):
            if not current and path.stat().st_mtime < time.time() - _DAY_S:
                path.unlink()
