"""Reading what `torch.save` writes, record by record, with every check sum that the file holds.

A file of today is a zip archive: `<root>/data.pkl` says what there is, `<root>/data/<key>` holds
the memory of tensors, and the archive keeps the CRC-32 of each. `torch.load` does not look at them.
Files of torch before 1.6 are a chain of pickles with the memory behind it, without check sums.
"""

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Set
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mmdet.core.errors import CheckpointError
from mmdet.core.pickle_notes import BlockedGlobals, DamagedPickle
from mmdet.core.safe_pickle import load_notes, load_pickle, resolve
from mmdet.core.torch_names import CHECKPOINT_NAMES, Storages

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
DIGEST = '.vfe/sha256'  # a record of ours, over all others
LOCAL_HEADER = struct.Struct('<4s5H3I2H')


def read_torch_file(path: Path, weights: bool = True) -> Any:
    """What a file of `torch.save` holds, on the CPU, without running code from it.

    Args:
        weights: False: tensors are of the device 'meta', their memory is neither read nor checked.

    Raises:
        CheckpointError: truncated, damaged (names the record), or not written by `torch.save`.
        BlockedGlobals: it holds objects of classes that are not on the allow-list.
    """
    try:
        with open(path, 'rb') as file:
            zipped = file.read(2) == b'PK'
            file.seek(0)
            return _Archive(file, path).read(weights) if zipped else _read_legacy(file, path)
    except (CheckpointError, BlockedGlobals):
        raise
    except OSError as error:
        raise CheckpointError(f'Cannot read {path}: {error.strerror or error}.') from error
    except zipfile.BadZipFile as error:
        raise _truncated(path, str(error)) from error
    except Exception as error:  # bytes that are no pickle fail in nearly any way
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f'{path} is damaged or not a PyTorch checkpoint: {reason}.'
        ) from error


def check_records(path: Path) -> None:
    """Compare the records of a file with their check sums; files without them pass."""
    with open(path, 'rb') as file:
        if file.read(2) == b'PK':
            _Archive(file, path).check()


def _truncated(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f'{path} ({path.stat().st_size} bytes) is truncated or not a PyTorch checkpoint: {reason}'
    )


class _Archive:
    """The records of a zip file, each read once and checked."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.file, self.path = file, path
        with zipfile.ZipFile(file) as archive:
            self.records = {info.filename: info for info in archive.infolist()}
            if len(self.records) != len(archive.infolist()):
                raise CheckpointError(f'{path} holds two records of one name: it is damaged.')
        roots = [n.removesuffix('/data.pkl') for n in self.records if n.endswith('/data.pkl')]
        self.root = min(roots, key=len, default='')
        if not self.root:
            raise CheckpointError(f'{path} is a zip file, but not a PyTorch checkpoint.')
        if f'{self.root}/constants.pkl' in self.records:
            raise CheckpointError(
                f'{path} is a TorchScript program, not a checkpoint. Save `model.state_dict()`.'
            )
        self._starts = self._positions()

    def _positions(self) -> dict[str, int]:
        """Where the bytes of each record begin; records may neither overlap nor be packed."""
        size, end, starts = self.path.stat().st_size, 0, {}
        for info in sorted(self.records.values(), key=lambda info: info.header_offset):
            self.file.seek(info.header_offset)
            header = self.file.read(LOCAL_HEADER.size)
            if len(header) < LOCAL_HEADER.size or info.header_offset < end:
                raise self._damaged(info.filename, 'lies over another record')
            fields = LOCAL_HEADER.unpack(header)
            name = self.file.read(fields[9])
            start = info.header_offset + LOCAL_HEADER.size + fields[9] + fields[10]
            end = start + info.file_size
            if fields[0] != b'PK\x03\x04' or name != info.orig_filename.encode():
                raise self._damaged(info.filename, 'has another name where it lies')
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise self._damaged(info.filename, 'is compressed, which torch.save never does')
            if end > size:
                raise self._damaged(info.filename, 'ends beyond the end of the file')
            starts[info.filename] = start
        return starts

    def _damaged(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(
            f'{self.path} is damaged: the record {name} {what}. Copy or download it again.'
        )

    def read(self, weights: bool) -> Any:
        byte_order = f'{self.root}/byteorder'
        if byte_order in self.records and self._bytes(byte_order) != b'little':
            raise CheckpointError(f'{self.path} was written by a big-endian machine.')
        storages = Storages(self._tensor if weights else _no_bytes)
        data = self._bytes(f'{self.root}/data.pkl')
        names = CHECKPOINT_NAMES
        value = load_pickle(io.BytesIO(data), len(data), names=names, persistent=storages)
        if weights:
            self.check(but={f'{self.root}/data/{key}' for key in storages.notes})
        return value

    def check(self, but: Set[str] = frozenset()) -> None:
        """Compare the records, without those that were read, with their check sums, and all with
        the digest that `add_digest` left, where there is one."""
        for name in self.records.keys() - but:
            self._bytes(name)
        name = f'{self.root}/{DIGEST}'
        if name in self.records:
            others = [info for other, info in self.records.items() if other != name]
            if _digest(others, self.root) != self._bytes(name).decode():
                raise self._damaged(name, 'is the digest of other contents')

    def _bytes(self, name: str) -> bytes:
        self.file.seek(self._starts[name])
        data = self.file.read(self.records[name].file_size)
        self._check_sum(name, data)
        return data

    def _tensor(self, key: str, nbytes: int) -> Tensor:
        name = f'{self.root}/data/{key}'
        if name not in self.records:
            raise self._damaged(name, 'is missing')
        if self.records[name].file_size != nbytes:
            raise self._damaged(
                name, f'has {self.records[name].file_size} bytes where {nbytes} belong'
            )
        memory = torch.empty(nbytes, dtype=torch.uint8)
        self.file.seek(self._starts[name])
        if nbytes:
            self.file.readinto(memoryview(memory.numpy()))
            self._check_sum(name, memoryview(memory.numpy()))
        return memory

    def _check_sum(self, name: str, data: bytes | memoryview) -> None:
        if zlib.crc32(data) != self.records[name].CRC:
            raise self._damaged(name, 'does not have its check sum (CRC-32)')


def _no_bytes(key: str, nbytes: int) -> Tensor:
    return torch.empty(nbytes, dtype=torch.uint8, device='meta')


def _digest(records: list[zipfile.ZipInfo], root: str) -> str:
    """SHA-256 over names, sizes and check sums, which in turn hold the contents: it costs nothing
    beside them, and finds records that are missing, exchanged or from another file."""
    lines = (f'{r.filename.removeprefix(root)} {r.file_size} {r.CRC}' for r in records)
    return hashlib.sha256('\n'.join(sorted(lines)).encode()).hexdigest()


def add_digest(path: Path) -> None:
    """Append the digest of all records to an archive of `torch.save`, as one more record."""
    with zipfile.ZipFile(path, 'a') as archive:
        names = archive.namelist()
        root = next(n for n in names if n.endswith('/data.pkl')).removesuffix('/data.pkl')
        archive.writestr(f'{root}/{DIGEST}', _digest(archive.infolist(), root))


# -- files of torch before 1.6 -------------------------------------------------------------------


def _read_legacy(file: IO[bytes], path: Path) -> Any:
    size = path.stat().st_size
    try:
        magic = load_pickle(file, size)
    except Exception as error:
        raise _truncated(path, 'it does not begin like one') from error
    if magic != LEGACY_MAGIC:
        raise CheckpointError(f'{path} is not a PyTorch checkpoint.')
    if load_pickle(file, size) != LEGACY_PROTOCOL:
        raise CheckpointError(f'{path} is damaged, or of a version of torch that is not known.')
    if load_pickle(file, size).get('little_endian') is not True:
        raise CheckpointError(f'{path} was written by a big-endian machine.')
    memory = _LegacyMemory(file)
    value = load_notes(file, size, names=CHECKPOINT_NAMES, persistent=memory.storages)
    memory.fill(load_pickle(file, size))
    return resolve(value)


class _LegacyMemory:
    """The memory of all storages, which follows the pickles; read when the keys are known."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._memory = file, {}
        self.storages = Storages(lambda key, nbytes: self._memory[key])

    def fill(self, keys: Any) -> None:
        notes = self.storages.notes
        if not isinstance(keys, list) or sorted(keys) != sorted(notes):
            raise DamagedPickle('another list of storages than the tensors use')
        for key in keys:
            note = notes[key]
            if self._file.read(8) != struct.pack('<q', note.count):
                raise DamagedPickle(f'storage {key} has another size than its tensor')
            data = self._file.read(note.nbytes)
            if len(data) < note.nbytes:
                raise DamagedPickle('the file ends inside a storage')
            self._memory[key] = torch.frombuffer(bytearray(data or b'\0'), dtype=torch.uint8)
        if self._file.read(1):
            raise DamagedPickle('bytes after the last storage')
