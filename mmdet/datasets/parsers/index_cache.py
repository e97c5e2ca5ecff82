"""The file that holds the flat arrays of an annotation file, mapped into memory by every process.

Layout: a header of `_HEADER` bytes (magic, length, SHA-256, JSON), then the arrays, each at a
multiple of 64 bytes. The header names the format version, the digest of the annotation file's
content and that of all arrays, so that a stale, truncated, damaged or foreign file is noticed.
"""

import contextlib
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

FORMAT_VERSION = 1
BLOCK = 1 << 20  # bytes per digest and per piece of parsing: 1 MiB parses fastest
_MAGIC = b'VFEINDEX'
_HEADER = 16384
_ALIGN = 64


class StaleCache(Exception):
    """The file is not the index that was asked for, or not whole."""


def combine(digests: list[bytes]) -> str:
    """One digest from those of all blocks, as hexadecimal digits."""
    return hashlib.sha256(b''.join(digests)).hexdigest()


def block_digest(block: bytes) -> bytes:
    return hashlib.sha256(block).digest()


def digest_of_file(file: int, start: int = 0) -> str:
    """Digest of an open file's content from byte `start`, in blocks shared among threads."""
    size = os.fstat(file).st_size

    def read(at: int) -> bytes:
        return block_digest(os.pread(file, BLOCK, at))

    threads = min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        return combine(list(pool.map(read, range(start, size, BLOCK))))


def read_index(path: Path, key: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Map an index file and verify every byte of it.

    Returns:
        Read-only arrays and the plain values stored with them.

    Raises:
        StaleCache: the file is missing, damaged, or of another key.
    """
    try:
        with open(path, 'rb') as file:
            header = _read_header(file.fileno())
            if header['key'] != key:
                raise StaleCache(f'{path} belongs to {header["key"]}')
            if digest_of_file(file.fileno(), _HEADER) != header['digest']:
                raise StaleCache(f'{path} is damaged')
            return _map(file, header)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StaleCache(f'{path}: {error}') from error


def _read_header(file: int) -> dict[str, Any]:
    head = os.pread(file, _HEADER, 0)
    length = int.from_bytes(head[8:16], 'little')
    text = head[48 : 48 + length]
    if head[:8] != _MAGIC or hashlib.sha256(text).digest() != head[16:48]:
        raise StaleCache('not an index file')
    header = json.loads(text)
    if os.fstat(file).st_size != header['size']:
        raise StaleCache('cut short')
    return header


def _map(file, header: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    whole = np.memmap(file, np.uint8, 'r')
    arrays = {}
    for name, (dtype, shape, start) in header['arrays'].items():
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays[name] = np.asarray(whole[start : start + count]).view(dtype).reshape(shape)
    return arrays, json.loads(arrays.pop('meta').tobytes())


def write_index(
    path: Path, key: dict[str, Any], arrays: dict[str, np.ndarray], meta: dict[str, Any]
) -> None:
    """Write an index file under a temporary name, then rename it: never seen half written."""
    arrays = arrays | {'meta': np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    temporary = path.with_name(f'{path.name}.{os.getpid()}.{time.time_ns()}.tmp')
    try:
        with open(temporary, 'xb+') as file:
            places = {}
            for name, array in arrays.items():
                file.seek(max(file.seek(0, os.SEEK_END), _HEADER) + _ALIGN - 1 & -_ALIGN)
                places[name] = (array.dtype.str, array.shape, file.tell())
                file.write(np.ascontiguousarray(array).data)
            file.flush()
            header = {
                'key': key,
                'size': file.seek(0, os.SEEK_END),
                'digest': digest_of_file(file.fileno(), _HEADER),
                'arrays': places,
            }
            text = json.dumps(header).encode()
            file.seek(0)
            file.write(_MAGIC + len(text).to_bytes(8, 'little'))
            file.write(hashlib.sha256(text).digest() + text)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
