"""One list of an annotation file as columns: the rules that an entry must obey by itself.

A rule is tested on a whole column at once; only when the column breaks it are its entries tested
one by one, to name the first offender.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mmdet.core.errors import AnnotationError

ABSENT = np.iinfo(np.int64).min  # stands for a video id that an image does not have
REQUIRED = object()
SINGULAR = {
    'categories': 'category',
    'videos': 'video',
    'images': 'image',
    'annotations': 'annotation',
}


def fail(path: Path, entry: str, rule: str) -> NoReturn:
    raise AnnotationError(f'{path}: {entry}: {rule}')


# --- one column: values to an array, or None if any value breaks the rule ------------------------


def _array(values: Sequence) -> np.ndarray:
    try:
        return np.array(values)
    except (ValueError, OverflowError):  # lists of several lengths
        return np.empty(0, object)


def _integers(values: Sequence) -> np.ndarray | None:
    array = _array(values)
    if array.dtype.kind == 'f' and (array == np.rint(array)).all() and abs(array).max() < 2**53:
        array = array.astype(np.int64)  # 1280.0, as some table programs write integers
    return array if array.ndim == 1 and array.dtype == np.int64 else None


def _small_integers(values: Sequence) -> np.ndarray | None:
    array = _integers(values)
    return None if array is None or abs(array).max() > np.iinfo(np.int32).max else array


def _sizes(values: Sequence) -> np.ndarray | None:
    array = _small_integers(values)
    return None if array is None or array.min() < 1 else array


def _flags(values: Sequence) -> np.ndarray | None:
    array = _array(values)
    return array.astype(bool) if array.ndim == 1 and array.dtype.kind in 'bi' else None


def _areas(values: Sequence) -> np.ndarray | None:
    """float64; NaN stands for an area that is not given."""
    array = _array(values)
    if array.ndim != 1 or array.dtype.kind not in 'iuf' or np.isinf(array).any():
        return None
    return array.astype(np.float64)


def _boxes(values: Sequence) -> np.ndarray | None:
    if set(map(type, values)) != {list} or set(map(len, values)) != {4}:
        return None
    array = _array(list(chain.from_iterable(values)))
    if array.ndim != 1 or array.dtype.kind not in 'iuf' or not np.isfinite(array).all():
        return None
    return array.astype(np.float64).reshape(-1, 4)


def _texts(values: Sequence) -> Sequence[str] | None:
    if set(map(type, values)) != {str} or not all(values):
        return None
    return values


_LIMITS = {_integers: np.iinfo(np.int64).max, _small_integers: np.iinfo(np.int32).max}


@dataclass(frozen=True)
class Field:
    """How to read a column, its rule in words, and what an absent or null value becomes."""

    read: Callable[[Sequence], Sequence | None]
    rule: str
    default: Any = REQUIRED


_ID = Field(_integers, 'must be an integer')
_TEXT = Field(_texts, 'must be a non-empty string')
_SIZE = Field(_sizes, 'must be a positive integer, in pixels')
_BOX = Field(_boxes, 'must be four finite numbers [x, y, width, height]')

FIELDS = {
    'categories': {'id': _ID, 'name': _TEXT},
    'videos': {'id': _ID, 'name': _TEXT},
    'images': {
        'id': _ID,
        'file_name': _TEXT,
        'height': _SIZE,
        'width': _SIZE,
        'video_id': Field(_integers, 'must be an integer', ABSENT),
        'frame_id': Field(_small_integers, 'must be an integer', -1),
        'is_vid_train_frame': Field(_flags, 'must be true or false', True),
    },
    'annotations': {
        'id': _ID,
        'image_id': _ID,
        'category_id': _ID,
        'bbox': _BOX,
        'area': Field(_areas, 'must be a finite number', float('nan')),
        'instance_id': Field(_integers, 'must be an integer', -1),
        'iscrowd': Field(_flags, 'must be true or false', False),
        'ignore': Field(_flags, 'must be true or false', False),
    },
}


def value_fault(name: str, field: Field, value: Any) -> str | None:
    """In words, the rule that the value of a field breaks; None if it breaks none."""
    if value is None:
        return f'has no `{name}`' if field.default is REQUIRED else None
    if field.read((value,)) is not None:
        return None
    limit = _LIMITS.get(field.read)
    if limit is not None and type(value) is int:
        return f'`{name}` {field.rule} of at most {limit}, not {value!r:.100}'
    return f'`{name}` {field.rule}, not {value!r:.100}'


def entry_faults(list_name: str, entry: Any) -> Iterator[str]:
    """In words, every rule that an entry breaks by itself."""
    if not isinstance(entry, dict):
        yield 'must be an object'
        return
    for name, field in FIELDS[list_name].items():
        fault = value_fault(name, field, entry.get(name))
        if fault:
            yield fault


def entry_name(list_name: str, position: int, entry: Any) -> str:
    """What errors call an entry: by its id or, without a usable one, by its place."""
    number = entry.get('id') if isinstance(entry, dict) else None
    known = isinstance(number, int)
    return f'{SINGULAR[list_name]} id {number}' if known else f'{list_name}[{position}]'


# --- one list of the file ------------------------------------------------------------------------


class Texts:
    """Strings as bytes; what stands up to the last slash (a video's folder) is kept once."""

    def __init__(self):
        self._folders: dict[str, int] = {}
        self._folder_of, self._lengths, self._tails = [], [], []

    def add(self, texts: Sequence[str]) -> None:
        known, cuts = self._folders, [text.rfind('/') + 1 for text in texts]
        heads = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
        tails = [_encode(text[cut:]) for text, cut in zip(texts, cuts, strict=True)]
        self._folder_of.append(
            np.array([known.setdefault(head, len(known)) for head in heads], np.int32)
        )
        self._lengths.append(np.array(list(map(len, tails)), np.int64))
        self._tails.append(b''.join(tails))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """`read_text` is the inverse."""
        folders = [_encode(folder) for folder in self._folders]
        return {
            f'{name}_folder': _joined(self._folder_of, np.int32),
            f'{name}_offsets': _offsets(_joined(self._lengths, np.int64)),
            f'{name}_bytes': np.frombuffer(b''.join(self._tails), np.uint8),
            f'{name}_folder_offsets': _offsets(np.array(list(map(len, folders)), np.int64)),
            f'{name}_folder_bytes': np.frombuffer(b''.join(folders), np.uint8),
        }


def read_text(arrays: Mapping[str, np.ndarray], name: str, i: int) -> str:
    """String `i` of the column that `Texts.arrays(name)` wrote."""
    folder = arrays[f'{name}_folder'][i]
    return ''.join(
        arrays[f'{column}_bytes'][slice(*arrays[f'{column}_offsets'][row : row + 2])]
        .tobytes()
        .decode('utf-8', 'surrogatepass')
        for column, row in ((f'{name}_folder', folder), (name, i))
    )


def _encode(text: str) -> bytes:
    return text.encode('utf-8', 'surrogatepass')


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


class Table:
    """The columns of one list, gathered part by part, without keeping the entries."""

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        self.fields = FIELDS[name]
        self.length = 0
        self.given = dict.fromkeys(self.fields, 0)  # entries that have the field
        self.texts = Texts()
        self._parts: dict[str, list] = {name: [] for name in self.fields}

    def add(self, entries: list) -> None:
        """Append entries, all or, when one of them breaks a rule, none.

        Raises:
            AnnotationError: the first entry that breaks a rule.
        """
        columns, absent = {}, {}
        for name, values in self._columns(entries).items():
            field = self.fields[name]
            array, absent[name] = field.read(values), 0
            if array is None:
                absent[name] = values.count(None)
                values = self._with_defaults(entries, name, values)
                array = field.read(values)
            if array is None:
                array = self._read_one_by_one(entries, name, values)
            columns[name] = array
        for name, array in columns.items():
            self.given[name] += len(array) - absent[name]
            if self.fields[name].read is _texts:
                self.texts.add(array)
            else:
                self._parts[name].append(array)
        self.length += len(entries)

    def _columns(self, entries: list) -> dict[str, Sequence]:
        """The values of every field that any entry has; fills the columns of the others."""
        try:
            given = [name for name in self.fields if name in entries[0].keys()]
            others = [name for name in self.fields if name not in given]
            rows = map(itemgetter(*given, 'id'), entries)  # two names or more: gives tuples
            columns = dict(zip(given, zip(*rows, strict=True), strict=False))
            if any(name in entry for entry in entries for name in others):
                raise KeyError
        except (AttributeError, KeyError, TypeError):
            return self._columns_with_gaps(entries)
        return columns | {name: [None] * len(entries) for name in others}

    def _columns_with_gaps(self, entries: list) -> dict[str, list]:
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self._fail_at(entries, i, 'must be an object')
        return {name: [entry.get(name) for entry in entries] for name in self.fields}

    def _with_defaults(self, entries: list, name: str, values: Sequence) -> Sequence:
        default = self.fields[name].default
        if default is REQUIRED and None in values:
            at = values.index(None)
            self._fail_at(entries, at, value_fault(name, self.fields[name], None))
        return [default if value is None else value for value in values]

    def _read_one_by_one(self, entries: list, name: str, values: Sequence) -> np.ndarray:
        field = self.fields[name]
        for i, value in enumerate(values):
            fault = value_fault(name, field, value)
            if fault:
                self._fail_at(entries, i, fault)
        return np.concatenate([field.read((value,)) for value in values])

    def _fail_at(self, entries: list, i: int, rule: str) -> NoReturn:
        fail(self.path, entry_name(self.name, self.length + i, entries[i]), rule)

    def column(self, name: str) -> np.ndarray:
        joined = _joined(self._parts.pop(name), np.int64)
        return joined.reshape(-1, 4) if name == 'bbox' else joined
