"""Detections of a whole set: as flat arrays, and as the results files `.pkl` and COCO `.json`.

A `.pkl` holds a list over images in ascending image id, each a list over classes of float32 arrays
(n, 5) `[x1, y1, x2, y2, score]`, in pixels of the original image.
"""

import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmdet.core.class_names import both_lists, labels_by_name
from mmdet.core.errors import EvaluationError
from mmdet.core.fileio import atomic_write
from mmdet.core.pickle_notes import BlockedGlobals
from mmdet.core.safe_pickle import load_pickle
from mmdet.core.text import read_json

_CLASSES = 'CLASSES'
IMAGES_AT_ONCE = 5000  # in writing JSON: bounds the memory


@dataclass
class DetectionArrays:
    """n detections, by image, then by class, then as given (mostly best score first)."""

    image: np.ndarray  # [n] int32 row of the image, in ascending image id
    label: np.ndarray  # [n] int16
    boxes: np.ndarray  # [n, 4] float32 xyxy, pixels of the original image
    score: np.ndarray  # [n] float32

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def from_rows(cls, image: np.ndarray, label: np.ndarray, rows: np.ndarray) -> 'DetectionArrays':
        """Sort detections by image and class, otherwise stable. rows: [n, 5]."""
        image, label = np.asarray(image, np.int32), np.asarray(label, np.int16)
        key = image.astype(np.int64) * (int(label.max(initial=0)) + 1) + label
        if (np.diff(key) < 0).any():
            order = np.argsort(key, kind='stable')
            image, label, rows = image[order], label[order], rows[order]
        rows = np.asarray(rows, np.float32).reshape(-1, 5)
        return cls(image, label, np.ascontiguousarray(rows[:, :4]), rows[:, 4].copy())

    def select_images(self, rows: np.ndarray) -> 'DetectionArrays':
        """The detections on some of the images (ascending rows), which are numbered anew."""
        new_row = np.full(max(int(self.image.max(initial=0)), int(rows.max(initial=0))) + 1, -1)
        new_row[rows] = np.arange(len(rows))
        image = new_row[self.image].astype(np.int32)
        kept = image >= 0
        return DetectionArrays(image[kept], self.label[kept], self.boxes[kept], self.score[kept])


def rows_by_class(label: np.ndarray, classes: int) -> list[np.ndarray]:
    """The rows of each class, in order."""
    rows = np.argsort(label.astype(np.int16), kind='stable')
    return np.split(rows, np.searchsorted(label[rows], np.arange(1, classes)))


def to_lists(detections: DetectionArrays, images: int, classes: int) -> list[list[np.ndarray]]:
    """The nested lists of a results file."""
    rows = np.concatenate([detections.boxes, detections.score[:, None]], axis=1)
    key = detections.image.astype(np.int64) * classes + detections.label
    cuts = np.searchsorted(key, np.arange(images * classes + 1)).tolist()
    empty = np.zeros((0, 5), np.float32)  # one object for all: pickled once
    flat = [rows[a:b] if b > a else empty for a, b in pairwise(cuts)]
    return [flat[i * classes : (i + 1) * classes] for i in range(images)]


def from_lists(
    results: Sequence[Sequence[np.ndarray]], images: int, classes: int, source: str = 'The results'
) -> DetectionArrays:
    """Flat arrays of the nested lists of a results file, checked.

    Args:
        images, classes: how many the annotation file has.
        source: how error messages name the results.

    Raises:
        EvaluationError: another number of images or classes, an array of another shape, or numbers
            that are not finite; with what to check.
    """
    if len(results) != images:
        raise EvaluationError(
            f'{source} hold {len(results)} images, but the annotation file has {images}. Check '
            f'that both are of the same set, and that the results are of all its frames.'
        )
    for i, per_class in enumerate(results):
        if len(per_class) != classes:
            raise EvaluationError(
                f'{source} hold {len(per_class)} classes (image {i + 1} of {images}), but '
                f'{classes} are to be scored. Check `classes` of the config and the categories '
                f'of the annotation file.'
            )
    arrays = [array for per_class in results for array in per_class]
    _check_arrays(arrays, classes, source)
    counts = np.array([len(array) for array in arrays], np.int64)
    filled = [array for array in arrays if len(array)]
    rows = np.concatenate(filled, dtype=np.float32) if filled else np.zeros((0, 5), np.float32)
    owner = np.repeat(np.arange(len(arrays)), counts)
    detections = DetectionArrays.from_rows(owner // classes, owner % classes, rows)
    return check_finite(detections, source)


def _check_arrays(arrays: list, classes: int, source: str) -> None:
    """Every entry must be an (n, 5) array of numbers: an empty dict is not "nothing found"."""
    if all(map(_is_rows, {id(array): array for array in arrays}.values())):
        return  # an empty array of all images without detections is looked at once
    for number, array in enumerate(arrays):
        if _is_rows(array):
            continue
        given = f'a {type(array).__name__}'
        if isinstance(array, np.ndarray):
            shape = ', '.join(['n', *map(str, array.shape[1:])] if array.ndim else [])
            numbers = array.dtype.kind in 'fiu'
            given = f'an array of shape ({shape})' if numbers else f'an array of {array.dtype}'
        raise EvaluationError(
            f'{source} hold {given} for image number {number // classes + 1} in ascending id, '
            f'class number {number % classes + 1}. Legal: arrays of shape (n, 5), '
            f'[x1, y1, x2, y2, score].'
        )


def _is_rows(array: Any) -> bool:
    if type(array) is not np.ndarray or array.dtype.kind not in 'fiu':
        return False
    return array.ndim == 2 and array.shape[1] == 5


def check_finite(detections: DetectionArrays, source: str) -> DetectionArrays:
    bad = ~(np.isfinite(detections.boxes).all(axis=1) & np.isfinite(detections.score))
    if bad.any():
        row = int(np.argmax(bad))
        raise EvaluationError(
            f'{source} hold {bad.sum()} detections with numbers that are not finite, first on '
            f'image number {detections.image[row] + 1} in ascending id: box '
            f'{detections.boxes[row].tolist()}, score {detections.score[row]}. Check the model '
            f'that made them for overflow (fp16) or weights that are not finite.'
        )
    return detections


# --- .pkl --------------------------------------------------------------------------------------


def write_pkl(
    path: str | Path,
    detections: DetectionArrays,
    images: int,
    classes: int,
    names: Sequence[str] | None = None,
) -> None:
    """Write a results file, whole or not at all. The `names` of the classes, by label, follow the
    lists as a second pickle, which other readers leave alone."""
    with atomic_write(path, 'wb') as file:
        pickle.dump(to_lists(detections, images, classes), file, protocol=4)
        if names is not None:
            pickle.dump({_CLASSES: list(names)}, file, protocol=4)


def read_pkl(
    path: str | Path, images: int, classes: int, names: Sequence[str] | None = None
) -> DetectionArrays:
    """Read a results file of ours or of vfe.pytorch 1.x.

    Args:
        images, classes: how many the annotation file has.
        names: of the classes, by label. Where the file names its own, in another order, its labels
            go by name; a file of 1.x names none.

    Raises:
        EvaluationError: anything but lists and arrays, or results of another set or other classes.
    """
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            results = load_pickle(file, size)
            written = _names_behind(file, size)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        held = 'it holds a ' if isinstance(error, BlockedGlobals) else ''
        raise EvaluationError(
            f'{path} is not a results file: {held}{error or type(error).__name__}. A results '
            f'file is a pickled list over images of a list over classes of (n, 5) arrays, as '
            f'written by `tools/test.py --out`; nothing else is loaded: a pickle can run code.'
        ) from error
    if not isinstance(results, list) or not all(isinstance(r, list | tuple) for r in results):
        raise EvaluationError(
            f'{path} is not a results file: it holds a {type(results).__name__}, not a list over '
            f'images of lists over classes.'
        )
    source = f'The results of {path}'
    if names is not None and written is not None and len(written) == len(names):
        results = _by_name(results, written, names, source)
    return from_lists(results, images, classes, source=source)


def _names_behind(file: BinaryIO, size: int) -> list[str] | None:
    """The class names that `write_pkl` puts behind the lists; None where there are none."""
    if file.tell() == size:
        return None
    found = load_pickle(file, size)
    names = found.get(_CLASSES) if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError('what follows its lists are no class names')
    return names


def _by_name(results: list, names: Sequence[str], classes: Sequence[str], source: str) -> list:
    """The lists over classes in the order of `classes`."""
    places = labels_by_name(classes, names)
    if places is None:
        lists = both_lists('the file', names, 'the config', classes)
        raise EvaluationError(f'{source} are of other classes than those to be scored: {lists}')
    if places == list(range(len(places))):
        return results
    return [[per_class[place] for place in places] for per_class in results]


# --- COCO .json --------------------------------------------------------------------------------


def write_coco_json(
    path: str | Path,
    detections: DetectionArrays,
    image_ids: np.ndarray,
    category_ids: Sequence[int],
) -> None:
    """Write the list of dicts of the COCO results format, boxes xywh, whole or not at all."""
    categories = np.asarray(category_ids)
    with atomic_write(path) as file:
        file.write('[')
        for start in range(0, len(image_ids), IMAGES_AT_ONCE):
            span = slice(*np.searchsorted(detections.image, [start, start + IMAGES_AT_ONCE]))
            boxes = detections.boxes[span].astype(np.float64)
            boxes[:, 2:] -= boxes[:, :2]
            columns = (
                image_ids[detections.image[span]].tolist(),
                categories[detections.label[span]].tolist(),
                boxes.round(4).tolist(),
                detections.score[span].astype(np.float64).tolist(),
            )
            entries = [
                {'image_id': i, 'category_id': c, 'bbox': b, 'score': s}
                for i, c, b, s in zip(*columns, strict=True)
            ]
            if entries:
                file.write(',\n' if span.start else '')
                file.write(json.dumps(entries)[1:-1])
        file.write(']\n')


def read_coco_json(
    path: str | Path, image_ids: np.ndarray, category_ids: Sequence[int]
) -> DetectionArrays:
    """Read COCO results. Images without an entry have no detections; EvaluationError: not a list
    of results, or ids that the annotation file does not have."""
    entries = read_json(Path(path), EvaluationError)
    try:
        if not isinstance(entries, list):
            raise TypeError(f'it holds a {type(entries).__name__}')
        image = _whole_numbers(entries, 'image_id')
        category = _whole_numbers(entries, 'category_id')
        rows = np.array([_box_and_score(e) for e in entries], np.float64).reshape(-1, 5)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise EvaluationError(
            f'{path} is not a COCO results file ({type(error).__name__}: {error}). Legal: a list '
            f'of {{"image_id", "category_id", "bbox": [x, y, w, h], "score"}}.'
        ) from error
    rows[:, 2:4] += rows[:, :2]
    image = _rows_of(image, image_ids, f'{path}: image ids')
    label = _rows_of(category, np.asarray(category_ids), f'{path}: category ids')
    detections = DetectionArrays.from_rows(image, label, rows)
    return check_finite(detections, f'The results of {path}')


def _whole_numbers(entries: list[dict], key: str) -> np.ndarray:
    """[n] int64; an id of 1.7 is a mistake, not 1."""
    values = [entry[key] for entry in entries]
    kinds = {type(value) for value in values} - {int}
    if kinds:
        raise TypeError(f'{key} must be a whole number, not a {kinds.pop().__name__}')
    return np.array(values, np.int64)


def _box_and_score(entry: dict) -> list[float]:
    box, score = entry['bbox'], entry['score']
    if not isinstance(box, list) or len(box) != 4:
        raise TypeError('bbox must be a list of 4 numbers')
    numbers = [*box, score]
    kinds = {type(number) for number in numbers} - {int, float}
    if kinds:
        raise TypeError(f'bbox and score must be numbers, not a {kinds.pop().__name__}')
    return numbers


def _rows_of(ids: np.ndarray, known: np.ndarray, what: str) -> np.ndarray:
    order = np.argsort(known)
    row = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    foreign = np.unique(ids[known[row] != ids])
    if len(foreign):
        raise EvaluationError(
            f'{what} {", ".join(map(str, foreign[:5]))} ({len(foreign)} in all) are not in the '
            f'annotation file, which has {known.min()} to {known.max()}. Check that both are of '
            f'the same set.'
        )
    return row
