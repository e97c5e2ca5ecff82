"""Detections of a rank on the disk before all ranks meet, so that no failure after it loses them.

A spill is an .npz with the images of one rank; `tools/eval.py CONFIG FOLDER` scores a folder of
them. They are removed when the metrics are there.
"""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mmdet.core.errors import EvaluationError, WriteError
from mmdet.core.fileio import atomic_write
from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.evaluation.results import DetectionArrays, check_finite

Entries = Sequence[tuple[int, np.ndarray, np.ndarray]]


def write_spill(entries: Entries, work_dir: str | Path | None, rank: int) -> Path | None:
    """Write (image id, [n] labels, [n, 5] boxes and scores) of this rank; returns the file.

    Where the work dir cannot be written, the folder for temporary files of the system takes it;
    None if neither can.
    """
    arrays = {
        'ids': np.array([entry[0] for entry in entries], np.int64),
        'counts': np.array([len(entry[1]) for entry in entries], np.int64),
        'labels': np.concatenate([np.zeros(0, np.int16), *[e[1] for e in entries]]),
        'rows': np.concatenate([np.zeros((0, 5), np.float32), *[e[2] for e in entries]]),
    }
    if work_dir is not None:
        path = Path(work_dir) / 'detections' / _name(rank)
        with suppress(WriteError):
            return _write(path, arrays)
    with suppress(OSError):
        return _write(Path(tempfile.mkdtemp(prefix='vfe-detections-')) / _name(rank), arrays)
    return None


def _name(rank: int) -> str:
    return f'rank_{rank}.npz'


def _write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with atomic_write(path, 'wb') as file:
        np.savez(file, **arrays)
    return path


def remove_spill(path: Path | None) -> None:
    """Remove a spill, and its folder when it was the last one."""
    if path is not None:
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()


def read_spills(folder: Path) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """The entries of all ranks.

    Raises:
        EvaluationError: there are none, one is damaged, or an image came twice.
    """
    paths = sorted(folder.glob('rank_*.npz'))
    if not paths:
        raise EvaluationError(f'{folder} is a folder without detections (rank_*.npz).')
    entries = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as stored:  # a zip: reading checks the sums
                ids, counts, labels, rows = (
                    stored[name] for name in ('ids', 'counts', 'labels', 'rows')
                )
            cuts = np.cumsum(counts)[:-1] if len(counts) else []
            if len(ids) != len(counts) or len(labels) != len(rows) or counts.sum() != len(rows):
                raise ValueError('its parts do not fit each other')
            parts = zip(np.split(labels, cuts), np.split(rows, cuts), strict=True)
            entries += [(int(i), *part) for i, part in zip(ids, parts, strict=False)]
        except Exception as error:  # damaged zip files fail in many ways
            raise EvaluationError(f'{path} is damaged: {error}.') from error
    return entries


def load_spills(folder: Path, truth: GroundTruth) -> DetectionArrays:
    """The detections in a folder of spills, of all images of the ground truth.

    Raises:
        EvaluationError: as of `read_spills`; images are missing, foreign or came twice.
    """
    entries = read_spills(folder)
    ids = sorted(entry[0] for entry in entries)
    if ids != truth.image_ids.tolist():
        raise EvaluationError(
            f'{folder} holds detections of {len(ids)} images, which are not the '
            f'{len(truth.image_ids)} of the annotation file. A rank may be missing.'
        )
    return arrays_of(entries, truth)


def arrays_of(entries: Entries, truth: GroundTruth) -> DetectionArrays:
    """Flat arrays of the entries of all ranks, whose images are those of the ground truth.

    Raises:
        EvaluationError: labels beyond the classes, numbers that are not finite.
    """
    ids = np.array([entry[0] for entry in entries], np.int64)
    counts = [len(entry[1]) for entry in entries]
    image = np.repeat(np.searchsorted(truth.image_ids, ids), counts)
    label = np.concatenate([np.zeros(0, np.int16), *[entry[1] for entry in entries]])
    rows = np.concatenate([np.zeros((0, 5), np.float32), *[entry[2] for entry in entries]])
    if len(label) and not 0 <= label.min() <= label.max() < len(truth.classes):
        raise EvaluationError(
            f'Detections have labels {label.min()} to {label.max()}, but there are '
            f'{len(truth.classes)} classes to score ({", ".join(truth.classes)}). The '
            f'number of classes of the model must be theirs.'
        )
    return check_finite(DetectionArrays.from_rows(image, label, rows), 'The detections')
