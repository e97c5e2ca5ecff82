"""Detections of a whole set: as flat arrays, and as the results files `.pkl` and COCO `.json`.

A `.pkl` holds a list over images in ascending image id, each a list over classes of float32 arrays
(n, 5) `[x1, y1, x2, y2, score]`, in pixels of the original image.
"""

import codecs
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mmdet.core.errors import EvaluationError
from mmdet.core.fileio import atomic_write

IMAGES_AT_ONCE = 5000  # in writing JSON: bounds the memory


@dataclass
class DetectionArrays:
    """n detections, by image, then by class, then as given (mostly best score first).

    Attributes:
        image: [n] int32 row of the image, in ascending image id.
        label: [n] int16.
        boxes: [n, 4] float32 xyxy, pixels of the original image.
        score: [n] float32.
    """

    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    score: np.ndarray

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
    """Flat arrays of nested lists, checked.

    Args:
        results: as in a results file.
        images, classes: what the annotation file has.
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
    counts = np.array([len(array) for array in arrays], np.int64)
    filled = [array for array in arrays if len(array)]
    try:
        rows = np.concatenate(filled, dtype=np.float32) if filled else np.zeros((0, 5), np.float32)
    except (ValueError, TypeError) as error:
        raise EvaluationError(f'{source} hold no (n, 5) arrays of numbers: {error}') from error
    if rows.ndim != 2 or rows.shape[1] != 5:
        raise EvaluationError(
            f'{source} hold arrays of shape (n, {rows.shape[-1]}). Legal: (n, 5), '
            f'[x1, y1, x2, y2, score].'
        )
    owner = np.repeat(np.arange(len(arrays)), counts)
    detections = DetectionArrays.from_rows(owner // classes, owner % classes, rows)
    return check_finite(detections, source)


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

_array = np.zeros(1, np.float32)
_LOADED = {  # the functions that pickled arrays name, under the module names of any numpy
    '_reconstruct': _array.__reduce__()[0],
    '_frombuffer': _array.__reduce_ex__(5)[0],
    'scalar': _array[0].__reduce__()[0],
    'ndarray': np.ndarray,
    'dtype': np.dtype,
}
# how protocols 0 to 2 write bytes
_BYTES = {('_codecs', 'encode'): codecs.encode, ('__builtin__', 'bytes'): bytes}


class _ArraysOnly(pickle.Unpickler):
    """Reads lists, numbers, strings and numpy arrays; refuses what could run code."""

    def find_class(self, module: str, name: str):
        if module.split('.')[0] == 'numpy' and name in _LOADED:
            return _LOADED[name]
        if (module, name) in _BYTES:
            return _BYTES[module, name]
        raise pickle.UnpicklingError(f'it holds a {module}.{name}')


def write_pkl(path: str | Path, detections: DetectionArrays, images: int, classes: int) -> None:
    """Write a results file, whole or not at all."""
    with atomic_write(path, 'wb') as file:
        pickle.dump(to_lists(detections, images, classes), file, protocol=4)


def read_pkl(path: str | Path, images: int, classes: int) -> DetectionArrays:
    """Read a results file of ours or of vfe.pytorch 1.x.

    Raises:
        EvaluationError: not a pickle, one with anything but lists and arrays, or results of
            another set (see `from_lists`).
    """
    try:
        with open(path, 'rb') as file:
            results = _ArraysOnly(file).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise EvaluationError(
            f'{path} is not a results file: {error or type(error).__name__}. A results file is a '
            f'pickled list over images of a list over classes of (n, 5) arrays, as written by '
            f'`tools/test.py --out`; nothing else is loaded, because a pickle can run code.'
        ) from error
    if not isinstance(results, list) or not all(isinstance(r, list | tuple) for r in results):
        raise EvaluationError(
            f'{path} is not a results file: it holds a {type(results).__name__}, not a list over '
            f'images of lists over classes.'
        )
    return from_lists(results, images, classes, source=f'The results of {path}')


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
    """Read COCO results. Images without an entry have no detections.

    Raises:
        EvaluationError: not a list of results, or ids that the annotation file does not have.
    """
    try:
        entries = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise EvaluationError(f'{path} is not JSON: {error}') from error
    try:
        image = np.array([e['image_id'] for e in entries], np.int64)
        category = np.array([e['category_id'] for e in entries], np.int64)
        rows = np.array([[*e['bbox'], e['score']] for e in entries], np.float64).reshape(-1, 5)
    except (TypeError, KeyError, ValueError) as error:
        raise EvaluationError(
            f'{path} is not a COCO results file ({type(error).__name__}: {error}). Legal: a list '
            f'of {{"image_id", "category_id", "bbox": [x, y, w, h], "score"}}.'
        ) from error
    rows[:, 2:4] += rows[:, :2]
    image = _rows_of(image, image_ids, f'{path}: image ids')
    label = _rows_of(category, np.asarray(category_ids), f'{path}: category ids')
    detections = DetectionArrays.from_rows(image, label, rows)
    return check_finite(detections, f'The results of {path}')


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
