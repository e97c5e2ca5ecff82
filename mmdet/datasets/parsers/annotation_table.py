"""One list of an annotation file as columns: the rules that an entry must obey by itself.

A rule is tested on a whole column at once; only where a column breaks it are entries tested one by
one, to name the offenders.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

ABSENT = np.iinfo(np.int64).min  # stands for a video id that an image does not have
REQUIRED = object()
STRUCTURE = 'structure'  # the kind of these faults
SINGULAR = {
    'categories': 'category',
    'videos': 'video',
    'images': 'image',
    'annotations': 'annotation',
}
Report = Callable[[str, str, str], None]  # takes the kind of a fault, the entry, and what is wrong


# --- one column: values to an array, or None if any value breaks the rule ------------------------


def _array(values: Sequence) -> np.ndarray:
    try:
        return np.array(values)
    except (ValueError, OverflowError):  # lists of several lengths
        return np.empty(0, object)


def _numbers(values: Sequence) -> np.ndarray | None:
    """[n] of numbers; numpy would take `true` among them for 1."""
    array = _array(values)
    plain = array.ndim == 1 and array.dtype.kind in 'iuf' and bool not in set(map(type, values))
    return array if plain else None


def _integers(values: Sequence) -> np.ndarray | None:
    array = _numbers(values)
    if array is None:
        return None
    if array.dtype.kind == 'f' and (array == np.rint(array)).all() and abs(array).max() < 2**53:
        array = array.astype(np.int64)  # 1280.0, as some table programs write integers
    return array if array.dtype == np.int64 else None


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
    array = _numbers(values)
    return None if array is None or np.isinf(array).any() else array.astype(np.float64)


def _boxes(values: Sequence) -> np.ndarray | None:
    if set(map(type, values)) != {list} or set(map(len, values)) != {4}:
        return None
    array = _numbers(list(chain.from_iterable(values)))
    if array is None or not np.isfinite(array).all():
        return None
    return array.astype(np.float64).reshape(-1, 4)


def _texts(values: Sequence) -> Sequence[str] | None:
    return values if set(map(type, values)) == {str} and all(values) else None


_LIMITS = {_integers: np.iinfo(np.int64).max, _small_integers: np.iinfo(np.int32).max}


@dataclass(frozen=True)
class Field:
    """How to read a column, its rule in words, and what an absent or null value becomes."""

    read: Callable[[Sequence], Sequence | None]
    rule: str
    default: Any = REQUIRED

    def column(self, values: list) -> Sequence | None:
        """The values as an array; None if one of them breaks the rule."""
        column = self.read(values)
        if column is None and self.default is not REQUIRED and None in values:
            column = self.read([self.default if value is None else value for value in values])
        return column


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
    if field.read([value]) is not None:
        return None
    limit = _LIMITS.get(field.read)
    most = f' of at most {limit}' if limit is not None and type(value) is int else ''
    return f'`{name}` {field.rule}{most}, not {value!r:.100}'


# --- one list of the file ------------------------------------------------------------------------


class Texts:
    """Strings as bytes; what stands up to the last slash (a video's folder) is kept once."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._folder_of, self._lengths, self._tails = [], [], []

    def add(self, texts: Sequence[str]) -> None:
        known, cuts = self._folders, [text.rfind('/') + 1 for text in texts]
        heads = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
        tails = [_encode(text[cut:]) for text, cut in zip(texts, cuts, strict=True)]
        self._folder_of += [known.setdefault(head, len(known)) for head in heads]
        self._lengths += map(len, tails)
        self._tails.append(b''.join(tails))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """`read_text` is the inverse."""
        folders = [_encode(folder) for folder in self._folders]
        return {
            f'{name}_folder': np.array(self._folder_of, np.int32),
            f'{name}_offsets': offsets_of(self._lengths),
            f'{name}_bytes': np.frombuffer(b''.join(self._tails), np.uint8),
            f'{name}_folder_offsets': offsets_of(list(map(len, folders))),
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


def offsets_of(lengths: Sequence[int]) -> np.ndarray:
    """[n + 1] int64: where each of n runs of these lengths starts, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


class Table:
    """The columns of one list, gathered part by part, without keeping the entries.

    Attributes:
        length: entries in the columns.
        incomplete: fields that some of them do not have.
        left_out: entries that break a rule and are in no column.
    """

    def __init__(self, name: str, report: Report) -> None:
        self.name, self.fields = name, FIELDS[name]
        self.length = 0
        self.incomplete: set[str] = set()
        self.left_out: list[dict] = []
        self.texts = Texts()
        self._report, self._seen = report, 0
        self._parts: dict[str, list] = {name: [] for name in self.fields}

    def add(self, entries: list) -> list[dict]:
        """Append entries; those that break a rule are reported and left out. Returns the others."""
        legal = entries
        if not self._append(entries):
            legal = [e for i, e in enumerate(entries, self._seen) if self._is_legal(i, e)]
            if not self._append(legal):  # integers and fractions that only do not fit together
                for entry in legal:
                    self._append([entry])
        self._seen += len(entries)
        return legal

    def _append(self, entries: list) -> bool:
        """All of the entries or, when one of them breaks a rule, none."""
        if set(map(type, entries)) != {dict}:
            return not entries
        values = {name: [entry.get(name) for entry in entries] for name in self.fields}
        columns = {name: field.column(values[name]) for name, field in self.fields.items()}
        if any(column is None for column in columns.values()):
            return False
        self.incomplete |= {name for name in values if None in values[name]}
        for name, column in columns.items():
            if self.fields[name].read is _texts:
                self.texts.add(column)
            else:
                self._parts[name].append(column)
        self.length += len(entries)
        return True

    def _is_legal(self, position: int, entry: Any) -> bool:
        """Report every rule that an entry breaks by itself."""
        faults, number = ['must be an object'], None
        if isinstance(entry, dict):
            number = entry.get('id')
            found = (value_fault(name, f, entry.get(name)) for name, f in self.fields.items())
            faults = [fault for fault in found if fault]
            self.left_out += [entry] if faults else []
        by_id, by_place = f'{SINGULAR[self.name]} id {number}', f'{self.name}[{position}]'
        for fault in faults:
            self._report(STRUCTURE, by_id if isinstance(number, int) else by_place, fault)
        return not faults

    def column(self, name: str) -> np.ndarray:
        """The values of a field; the table forgets them."""
        parts = self._parts.pop(name) or [np.empty(0, np.int64)]
        joined = np.concatenate(parts)
        return joined.reshape(-1, 4) if name == 'bbox' else joined

    def left_out_ids(self, field: str = 'id') -> list[int]:
        """What entries that were left out have in a field, where it is an integer."""
        return [e[field] for e in self.left_out if isinstance(e.get(field), int)]
