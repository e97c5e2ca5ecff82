"""What a pickle of unknown origin says about its values, noted and not yet believed.

numpy's own constructors never see what a file says: with a crafted dtype they would follow pointers
that come from the file. Notes become values in `mmdet.core.safe_pickle.resolve`, after their sizes
and types were checked.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_DIMS = 32
NUMERIC = {'b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8'}
FLAT = (None, None, None, -1, -1, 0)  # the state of a dtype without fields and flags
ARRAY_VERSION, DTYPE_VERSIONS = 1, (3, 4)  # of the states that numpy writes
PLAIN = (type(None), bool, int, float, str, bytes)


class BlockedGlobals(Exception):
    """Carries the name of something that only trusted files may load."""


class DamagedPickle(ValueError):
    """Notes that make no value: sizes or types that contradict each other."""


class Note:
    """What a file says about a value that is not built yet. Pickled state cannot change it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise DamagedPickle(f'state for a {type(self).__name__}')

    def build(self) -> Any:
        """The value, or DamagedPickle: the notes contradict each other; BlockedGlobals: they ask
        for what is not loaded."""
        raise DamagedPickle(f'a bare {type(self).__name__}')


class Maker(Note):
    """Stands for a function that a file names."""

    __slots__ = ('_make',)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args) -> Any:
        return self._make(*args)


class Stateless:
    """Takes any state and keeps nothing of it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class Inert(Stateless):
    """Stands for a class of another toolbox; resolves to None."""

    __slots__ = ()

    def __new__(cls, *_) -> 'Inert':
        return super().__new__(cls)

    def __init__(self, *_) -> None:
        pass


class PlainDict(Stateless, dict):
    """Stands for the dict classes of Python and of configs; attributes are dropped."""

    __slots__ = ()

    def __init__(self, *args) -> None:
        super().__init__(args[0] if args and isinstance(args[0], dict | list) else ())


class PlainText(Stateless, str):
    """Stands for string classes such as torch's version."""

    __slots__ = ()


class DtypeNote(Note):
    """numpy.dtype: a code such as 'f4', and its byte order."""

    __slots__ = ('_built', 'code', 'order')

    def __init__(self, code: Any = None, *_) -> None:
        self.code, self.order, self._built = code, '<', None

    def __setstate__(self, state: Any) -> None:
        plain = isinstance(state, tuple) and len(state) >= 5 and state[1] in ('<', '>', '|', '=')
        plain = plain and state[0] in DTYPE_VERSIONS
        if not plain or state[2:8] not in (FLAT, FLAT[:3]):
            raise BlockedGlobals('a structured numpy.dtype')
        self.order, self._built = state[1], None

    def build(self) -> np.dtype:
        if self._built is None:  # thousands of arrays share one
            if not isinstance(self.code, str) or self.code not in NUMERIC:
                raise BlockedGlobals(f'a numpy.dtype({str(self.code)[:20]!r})')
            self._built = np.dtype(self.code).newbyteorder(self.order)
        return self._built


class ArrayNote(Note):
    """numpy.ndarray: its shape, dtype and bytes."""

    __slots__ = ('dtype', 'fortran', 'raw', 'shape')

    def __init__(self, shape: Any = (), dtype: Any = None, fortran: Any = False, raw: Any = b''):
        self.shape, self.dtype, self.fortran, self.raw = shape, dtype, fortran, raw

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != ARRAY_VERSION:
            raise DamagedPickle('an array with an unknown state')
        _, self.shape, self.dtype, self.fortran, self.raw = state

    def build(self) -> np.ndarray:
        dtype = self.dtype.build() if isinstance(self.dtype, DtypeNote) else None
        if dtype is None or not isinstance(self.raw, bytes | bytearray):
            raise DamagedPickle('an array without dtype or bytes')
        shape = checked_shape(self.shape)
        if math.prod(shape) * dtype.itemsize != len(self.raw):
            raise DamagedPickle(f'an array of shape {shape} in {len(self.raw)} bytes')
        order = 'F' if self.fortran in (True, 1, 'F') else 'C'
        array = np.frombuffer(self.raw, dtype).reshape(shape, order=order)
        return array if dtype.isnative else array.astype(dtype.newbyteorder('='))


class ScalarNote(Note):
    """A numpy scalar; becomes a Python number."""

    __slots__ = ('dtype', 'raw')

    def __init__(self, dtype: Any = None, raw: Any = b'') -> None:
        self.dtype, self.raw = dtype, raw

    def build(self) -> int | float | bool:
        return ArrayNote((), self.dtype, False, self.raw).build().item()


def checked_shape(shape: Any = ()) -> tuple[int, ...]:
    """A tuple of at most 32 sizes of 0 or more; anything else is DamagedPickle."""
    shape = (shape,) if type(shape) is int else shape
    if not isinstance(shape, tuple | list) or len(shape) > MAX_DIMS:
        raise DamagedPickle('a shape that is no short tuple')
    if not all(type(size) is int and 0 <= size < 2**62 for size in shape):
        raise DamagedPickle('a shape with sizes that are no counts')
    return tuple(shape)


def _latin_bytes(text: Any = '', encoding: Any = 'latin1') -> bytes:
    """How protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding not in ('latin1', 'latin-1'):
        raise BlockedGlobals('_codecs.encode')
    return text.encode('latin1')


def _empty_bytes(*args) -> bytes:
    if args:
        raise BlockedGlobals('builtins.bytes')
    return b''


def plain_set(items: Any = ()) -> set:
    if not isinstance(items, list) or not all(isinstance(item, PLAIN) for item in items):
        raise BlockedGlobals('builtins.set')
    return set(items)


def _frombuffer(raw: Any = b'', dtype: Any = None, shape: Any = (), order: Any = 'C', *_):
    return ArrayNote(shape, dtype, order == 'F', raw)


def _reconstruct(kind: Any = None, shape: Any = None, code: Any = None) -> ArrayNote:
    if kind is not NDARRAY or shape != (0,) or code not in (b'b', 'b'):
        raise DamagedPickle('an array that numpy does not write')
    return ArrayNote()


def _call_of_ndarray(*_) -> None:
    raise BlockedGlobals('a call of numpy.ndarray')


NDARRAY = Maker(_call_of_ndarray)
ARRAYS = {  # whichever numpy wrote it
    '_reconstruct': Maker(_reconstruct),
    '_frombuffer': Maker(_frombuffer),
    'scalar': Maker(ScalarNote),
    'ndarray': NDARRAY,
    'dtype': Maker(DtypeNote),
}
NAMES: dict[tuple[str, str], Any] = {
    ('_codecs', 'encode'): Maker(_latin_bytes),
    ('__builtin__', 'bytes'): Maker(_empty_bytes),
    ('builtins', 'bytes'): Maker(_empty_bytes),
}
