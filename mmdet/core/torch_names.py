"""The names that honest checkpoints hold beside their weights, and what stands for them.

Weights are noted while unpickling and built from their record after its size was checked.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmdet.core.pickle_notes import (
    PLAIN,
    BlockedGlobals,
    DamagedPickle,
    Inert,
    Maker,
    Note,
    PlainDict,
    PlainText,
    checked_shape,
    plain_set,
)

STORAGES = {
    'FloatStorage': torch.float32,
    'DoubleStorage': torch.float64,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'ComplexFloatStorage': torch.complex64,
    'ComplexDoubleStorage': torch.complex128,
    'UntypedStorage': torch.uint8,
}
DTYPES = ('uint8', 'int8', 'int16', 'int32', 'int64', 'uint16', 'uint32', 'uint64', 'bool')
DTYPES += ('float16', 'bfloat16', 'float32', 'float64', 'complex64', 'complex128')
DTYPES += ('float8_e4m3fn', 'float8_e5m2')


class DtypeName(Note):
    """torch.float32 and its like, and the storage classes, which say the same."""

    __slots__ = ('dtype',)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def build(self) -> torch.dtype:
        return self.dtype


class StorageNote(Note):
    """A piece of memory that tensors share: `count` elements of `dtype` in the record `key`.

    Args:
        read: gives the bytes of the record as [n] uint8, checked.
    """

    __slots__ = ('_bytes', '_read', 'count', 'dtype', 'key')

    def __init__(
        self, key: str, dtype: torch.dtype, count: int, read: Callable[[str, int], Tensor]
    ) -> None:
        self.key, self.dtype, self.count = key, dtype, count
        self._read, self._bytes = read, None

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize

    def bytes(self) -> Tensor:
        if self._bytes is None:
            self._bytes = self._read(self.key, self.nbytes)
        return self._bytes

    @classmethod
    def of(cls, pid: Any, read: Callable[[str, int], Tensor]) -> 'StorageNote':
        """From a persistent id, as torch writes it.

        Raises:
            DamagedPickle: anything else.
        """
        good = (
            isinstance(pid, tuple)
            and len(pid) in (5, 6)
            and pid[0] == 'storage'
            and isinstance(pid[1], DtypeName)
            and isinstance(pid[2], str)
            and type(pid[4]) is int
            and 0 <= pid[4] < 2**62
        )
        if not good or (len(pid) == 6 and pid[5] is not None):
            raise DamagedPickle('a storage that is none')
        return cls(pid[2], pid[1].dtype, pid[4], read)


class Storages:
    """Makes the storage of a persistent id, one for all tensors that share it."""

    def __init__(self, read: Callable[[str, int], Tensor]) -> None:
        self._read, self.notes = read, {}

    def __call__(self, pid: Any) -> StorageNote:
        note = StorageNote.of(pid, self._read)
        first = self.notes.setdefault(note.key, note)
        if (first.dtype, first.count) != (note.dtype, note.count):
            raise DamagedPickle(f'two storages with the key {note.key!r}')
        return first


class TensorNote(Note):
    """A tensor: a view of a storage."""

    __slots__ = ('dtype', 'offset', 'shape', 'storage', 'stride')

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: Any) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride
        self.dtype = dtype

    def build(self) -> Tensor:
        storage = self.storage
        if not isinstance(storage, StorageNote) or type(self.offset) is not int:
            raise DamagedPickle('a tensor without a storage')
        dtype = storage.dtype if self.dtype is None else self.dtype
        shape, stride = checked_shape(self.shape), checked_shape(self.stride)
        count = math.prod(shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=False))
        available = storage.nbytes // dtype.itemsize
        inside = len(shape) == len(stride) and 0 <= self.offset and count <= available
        if not inside or (count and last >= available):
            raise DamagedPickle(
                f'a tensor of shape {shape} that reaches beyond its {available} numbers'
            )
        data = storage.bytes()
        if data.device.type == 'meta':
            return torch.empty(shape, dtype=dtype, device='meta')
        whole = data[: available * dtype.itemsize].view(dtype)
        return whole.as_strided(shape, stride, self.offset) if count else whole[:0].reshape(shape)


def _tensor(storage=None, offset=None, shape=None, stride=None, *_) -> TensorNote:
    return TensorNote(storage, offset, shape, stride, None)


def _tensor_of_dtype(
    storage=None, offset=None, shape=None, stride=None, grad=None, hooks=None, dtype=None, *_
) -> TensorNote:
    if not isinstance(dtype, DtypeName):
        raise DamagedPickle('a tensor without a dtype')
    return TensorNote(storage, offset, shape, stride, dtype.dtype)


def _parameter(data: Any = None, *_) -> Any:
    if not isinstance(data, TensorNote):
        raise BlockedGlobals('torch._utils._rebuild_parameter of no tensor')
    return data


def _size(sizes: Any = ()) -> tuple:
    return checked_shape(sizes)


def _device(*parts) -> str:
    if not all(isinstance(part, PLAIN) for part in parts):
        raise BlockedGlobals('torch.device')
    return ':'.join(map(str, parts))


def _names() -> dict[tuple[str, str], Any]:
    utils = {
        '_rebuild_tensor': Maker(_tensor),
        '_rebuild_tensor_v2': Maker(_tensor),
        '_rebuild_tensor_v3': Maker(_tensor_of_dtype),
        '_rebuild_parameter': Maker(_parameter),
    }
    names = {('torch._utils', name): maker for name, maker in utils.items()}
    for name, dtype in STORAGES.items():
        names['torch', name] = names['torch.storage', name] = DtypeName(dtype)
    for name in DTYPES:
        if hasattr(torch, name):
            names['torch', name] = DtypeName(getattr(torch, name))
    names['torch', 'Size'], names['torch', 'device'] = Maker(_size), Maker(_device)
    names['torch.torch_version', 'TorchVersion'] = PlainText
    dicts = ('OrderedDict', 'Counter', 'defaultdict')
    names |= {('collections', name): PlainDict for name in dicts}
    names |= {(module, 'ConfigDict'): PlainDict for module in CONFIG_MODULES}
    names['mmengine.logging.history_buffer', 'HistoryBuffer'] = Inert
    names['argparse', 'Namespace'] = Inert
    for module in ('builtins', '__builtin__'):
        names[module, 'set'] = Maker(plain_set)
        # by `getattr` pickles find methods, by types the factory of a defaultdict
        names |= {(module, name): Maker(_nothing) for name in ('getattr', 'int', 'float', 'list')}
    return names


def _nothing(*_) -> None:
    return None


CONFIG_MODULES = ('mmengine.config.config', 'mmcv.utils.config')
CHECKPOINT_NAMES = _names()
