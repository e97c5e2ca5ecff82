"""Unpickling files of unknown origin: a pickle is a program, and only a harmless part of it runs.

Nothing that a file names is imported or called. The few names that honest files need lead to
stand-ins (`mmdet.core.pickle_notes`), which take notes; `resolve` turns the notes into values.
"""

import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, Any

from mmdet.core.pickle_notes import (
    ARRAYS,
    NAMES,
    PLAIN,
    BlockedGlobals,
    DamagedPickle,
    Inert,
    Note,
    PlainText,
)

NUMPY = re.compile(r'numpy(\._?core\.(multiarray|numeric))?')
MAX_DEPTH = 100
MAX_VALUES = 50_000_000  # counted as often as they appear: shared parts can multiply
EXTRA_BYTES = 4 << 30  # of memory that unpickling may take beyond a multiple of the file
BYTES_PER_BYTE = 64


class SafeUnpickler(pickle.Unpickler):
    """Reads plain values, and notes of numpy arrays; BlockedGlobals: the file names anything else.
    Bytes that are no pickle raise anything.

    Args:
        file: binary; may go on after the pickle.
        names: more stand-ins, by (module, name).
        persistent: makes values of persistent ids. None: there may be none.
    """

    def __init__(
        self,
        file: IO[bytes],
        names: Mapping[tuple[str, str], Any] = MappingProxyType({}),
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(file)
        self._names, self._persistent = names, persistent

    def find_class(self, module: str, name: str) -> Any:
        if name in ARRAYS and NUMPY.fullmatch(module):
            return ARRAYS[name]
        found = NAMES.get((module, name)) or self._names.get((module, name))
        if found is None:
            raise BlockedGlobals(f'{module}.{name}')
        return found

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise DamagedPickle('a persistent id')
        return self._persistent(pid)


def load_pickle(file: IO[bytes], size: int, **kwargs) -> Any:
    """The resolved value of a pickle of `size` bytes; arguments of `SafeUnpickler`."""
    return resolve(load_notes(file, size, **kwargs))


def load_notes(file: IO[bytes], size: int, **kwargs) -> Any:
    """The same before `resolve`."""
    with bounded_memory(size):
        return SafeUnpickler(file, **kwargs).load()


@contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """Lets the process grow by a multiple of `size` and 4 GiB, and raises MemoryError beyond.

    A pickle of twenty bytes can ask for a table of 34 GB, which Python 3.11 fills with zeros.
    """
    try:
        import resource

        with open('/proc/self/statm') as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # no Linux: nothing to measure with
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + EXTRA_BYTES + BYTES_PER_BYTE * size
    lower = soft == resource.RLIM_INFINITY or wanted < soft
    if lower:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        if lower:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def resolve(value: Any) -> Any:
    """Plain lists, tuples, dicts, sets, numbers, strings and arrays of an unpickled value.

    Raises:
        DamagedPickle: notes that contradict each other, a value inside itself, keys that are no
            strings or numbers, more nesting or more values than any honest file has.
        BlockedGlobals: a note that asks for what is not loaded.
    """
    return _Resolver().resolve(value, 0)[0]


class _Resolver:
    """Resolves every shared part once; counts it as often as it appears."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}

    def resolve(self, value: Any, depth: int) -> tuple[Any, int]:
        if type(value) in PLAIN:
            return value, 1
        if id(value) not in self._done:
            if depth > MAX_DEPTH:
                raise DamagedPickle(f'values nested more than {MAX_DEPTH} deep')
            found = self._done[id(value)] = self._build(value, depth + 1)
            if found[1] > MAX_VALUES:
                raise DamagedPickle(f'more than {MAX_VALUES} values')
        return self._done[id(value)]

    def _build(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, Note):
            return value.build(), 1
        if isinstance(value, list | tuple):
            done = self._done
            pairs = [done.get(id(v)) or self.resolve(v, depth) for v in value]
            items = [pair[0] for pair in pairs]
            total = sum([pair[1] for pair in pairs]) + 1
            return (items if isinstance(value, list) else tuple(items)), total
        if isinstance(value, dict):
            pairs = {self._key(k, depth): self.resolve(v, depth) for k, v in value.items()}
            return {k: v[0] for k, v in pairs.items()}, sum(v[1] for v in pairs.values()) + 1
        if isinstance(value, PlainText):
            return str(value), 1
        if isinstance(value, set | frozenset):
            return {self._key(v, depth) for v in value}, len(value)
        if isinstance(value, bytearray):
            return bytes(value), 1
        if isinstance(value, Inert):
            return None, 1
        raise DamagedPickle(f'a {getattr(value, "__name__", type(value).__name__)} as a value')

    def _key(self, key: Any, depth: int) -> Any:
        key = self.resolve(key, depth)[0]
        if not isinstance(key, PLAIN) and not (
            isinstance(key, tuple) and all(isinstance(part, PLAIN) for part in key)
        ):
            raise DamagedPickle(f'a {type(key).__name__} as a key')
        return key
