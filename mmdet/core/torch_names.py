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
BUILTINS = ('builtins', '__builtin__')


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
        pid: a persistent id, as torch writes it; anything else raises DamagedPickle.
        read: gives the bytes of the record as [n] uint8, checked.
    """

    __slots__ = ('_bytes', '_read', 'count', 'dtype', 'key')

    def __init__(self, pid: Any, read: Callable[[str, int], Tensor]) -> None:
        match pid:
            case ('storage', DtypeName() as name, str() as key, _, int() as count, *view):
                good = type(count) is int and 0 <= count < 2**62 and view in ([], [None])
            case _:
                good = False
        if not good or not isinstance(pid, tuple):
            raise DamagedPickle('a storage that is none')
        self.key, self.dtype, self.count = key, name.dtype, count
        self._read, self._bytes = read, None

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize

    def bytes(self) -> Tensor:
        if self._bytes is None:
            self._bytes = self._read(self.key, self.nbytes)
        return self._bytes


class Storages:
    """Makes the storage of a persistent id, one for all tensors that share it."""

    def __init__(self, read: Callable[[str, int], Tensor]) -> None:
        self._read, self.notes = read, {}

    def __call__(self, pid: Any) -> StorageNote:
        note = StorageNote(pid, self._read)
        first = self.notes.setdefault(note.key, note)
        if (first.dtype, first.count) != (note.dtype, note.count):
            raise DamagedPickle(f'two storages with the key {note.key!r}')
        return first


class TensorNote(Note):
    """A tensor: a view of a storage; `dtype` None: of that of the storage."""

    __slots__ = ('dtype', 'offset', 'shape', 'storage', 'stride')

    def __init__(
        self, storage: Any = None, offset: Any = None, shape: Any = None, stride: Any = None, *_
    ) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride
        self.dtype: torch.dtype | None = None

    def build(self) -> Tensor:
        storage = self.storage
        if not isinstance(storage, StorageNote) or type(self.offset) is not int:
            raise DamagedPickle('a tensor without a storage')
        dtype = self.dtype or storage.dtype
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


def _tensor_of_dtype(*args) -> TensorNote:
    note = TensorNote(*args)
    if len(args) < 7 or not isinstance(args[6], DtypeName):
        raise DamagedPickle('a tensor without a dtype')
    note.dtype = args[6].dtype
    return note


def _parameter(data: Any = None, *_) -> TensorNote:
    if not isinstance(data, TensorNote):
        raise BlockedGlobals('torch._utils._rebuild_parameter of no tensor')
    return data


def _device(*parts) -> str:
    if not all(isinstance(part, PLAIN) for part in parts):
        raise BlockedGlobals('torch.device')
    return ':'.join(map(str, parts))


def _nothing(*_) -> None:
    return None


CHECKPOINT_NAMES: dict[tuple[str, str], Any] = {
    ('torch._utils', '_rebuild_tensor'): Maker(TensorNote),
    ('torch._utils', '_rebuild_tensor_v2'): Maker(TensorNote),
    ('torch._utils', '_rebuild_tensor_v3'): Maker(_tensor_of_dtype),
    ('torch._utils', '_rebuild_parameter'): Maker(_parameter),
    ('torch', 'Size'): Maker(checked_shape),
    ('torch', 'device'): Maker(_device),
    ('torch.torch_version', 'TorchVersion'): PlainText,
    ('mmengine.config.config', 'ConfigDict'): PlainDict,
    ('mmcv.utils.config', 'ConfigDict'): PlainDict,
    ('mmengine.logging.history_buffer', 'HistoryBuffer'): Inert,
    ('argparse', 'Namespace'): Inert,
    **{('collections', name): PlainDict for name in ('OrderedDict', 'Counter', 'defaultdict')},
    **{(module, 'set'): Maker(plain_set) for module in BUILTINS},
    # by `getattr` pickles find methods, by types the factory of a defaultdict
    **{
        (module, name): Maker(_nothing)
        for module in BUILTINS
        for name in ('getattr', 'int', 'float', 'list')
    },
    **{
        (module, name): DtypeName(dtype)
        for module in ('torch', 'torch.storage')
        for name, dtype in STORAGES.items()
    },
    **{('torch', n): DtypeName(getattr(torch, n)) for n in DTYPES if hasattr(torch, n)},
}
