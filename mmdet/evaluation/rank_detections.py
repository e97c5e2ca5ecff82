"""Detections of one rank: on the disk before all ranks meet, so that no failure after it loses
them, and joined with those of the others.

A spill is an .npz with the images of one rank; `tools/eval.py CONFIG FOLDER` scores a folder of
them. They are removed when the metrics are there.
"""

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmdet.core.errors import EvaluationError, WriteError
from mmdet.core.fileio import atomic_write
from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.evaluation.results import DetectionArrays, check_finite
from mmdet.structures import Detections

NAMED = 5  # image ids in an error message
COLUMNS = ('ids', 'counts', 'labels', 'rows')


@dataclass
class RankDetections:
    """Detections of N images, n in all, best first within an image."""

    ids: np.ndarray  # [N] int64 image ids, in any order
    counts: np.ndarray  # [N] int64 detections of each image
    labels: np.ndarray  # [n] int16
    rows: np.ndarray  # [n, 5] float32, boxes and scores

    @classmethod
    def of(cls, images: Sequence[Detections]) -> 'RankDetections':
        """Of the detections of single images."""
        labels, rows = [np.zeros(0, np.int16)], [np.zeros((0, 5), np.float32)]
        for detections in images:
            scores = detections.scores.numpy()
            order = np.argsort(-scores, kind='stable')
            labels.append(detections.labels.numpy().astype(np.int16)[order])
            columns = [detections.boxes.numpy(), scores]
            rows.append(np.column_stack(columns).astype(np.float32)[order])
        ids = np.array([detections.image_id for detections in images], np.int64)
        counts = np.array([len(detections) for detections in images], np.int64)
        return cls(ids, counts, np.concatenate(labels), np.concatenate(rows))

    @classmethod
    def joined(cls, parts: Iterable['RankDetections']) -> 'RankDetections':
        parts = [cls.of([]), *parts]
        columns = [[getattr(part, name) for part in parts] for name in COLUMNS]
        return cls(*map(np.concatenate, columns))

    def arrays(self, truth: GroundTruth) -> DetectionArrays:
        """Flat arrays; EvaluationError: images that are missing, foreign or came twice, labels
        beyond the classes, numbers that are not finite."""
        self._check_images(truth)
        image = np.repeat(np.searchsorted(truth.image_ids, self.ids), self.counts)
        label = self.labels
        if len(label) and not 0 <= label.min() <= label.max() < len(truth.classes):
            raise EvaluationError(
                f'Detections have labels {label.min()} to {label.max()}, but there are '
                f'{len(truth.classes)} classes to score ({", ".join(truth.classes)}). The '
                f'number of classes of the model must be theirs.'
            )
        return check_finite(DetectionArrays.from_rows(image, label, self.rows), 'The detections')

    def _check_images(self, truth: GroundTruth) -> None:
        unique, times = np.unique(self.ids, return_counts=True)
        faults = {
            'came more than once': unique[times > 1],
            'have no detections, not even an empty set': np.setdiff1d(truth.image_ids, unique),
            'are not in the annotation file': np.setdiff1d(unique, truth.image_ids),
        }
        wrong = [
            f'{len(these)} images {what} (ids {", ".join(map(str, these[:NAMED]))}'
            f'{", ..." if len(these) > NAMED else ""})'
            for what, these in faults.items()
            if len(these)
        ]
        if wrong:
            raise EvaluationError(
                f'The tested images are not the {len(truth.image_ids)} of the annotation file: '
                f'{"; ".join(wrong)}. Check that the test dataset and the evaluator have the same '
                f'ann_file, that the sampler gives every frame once, and that no rank is missing.'
            )


def write_spill(part: RankDetections, work_dir: str | Path | None, rank: int) -> Path | None:
    """Write the detections of this rank to the work dir or, where that cannot be written, to a
    folder for temporary files of the system; returns the file, None if neither can."""
    if work_dir is not None:
        with suppress(WriteError):
            return _write(Path(work_dir) / 'detections' / f'rank_{rank}.npz', part)
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix='vfe-detections-'))
        return _write(folder / f'rank_{rank}.npz', part)
    return None


def _write(path: Path, part: RankDetections) -> Path:
    with atomic_write(path, 'wb') as file:
        np.savez(file, **asdict(part))
    return path


def remove_spill(path: Path | None) -> None:
    """Remove a spill, and its folder when it was the last one."""
    if path is not None:
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()


def load_spills(folder: Path, truth: GroundTruth) -> DetectionArrays:
    """The detections in a folder of spills, of all images of the ground truth."""
    paths = sorted(folder.glob('rank_*.npz'))
    if not paths:
        raise EvaluationError(f'{folder} is a folder without detections (rank_*.npz).')
    return RankDetections.joined(map(_read, paths)).arrays(truth)


def _read(path: Path) -> RankDetections:
    try:
        with np.load(path, allow_pickle=False) as stored:  # a zip: reading checks the sums
            part = RankDetections(*(stored[name] for name in COLUMNS))
        sizes = len(part.ids), len(part.labels), part.counts.sum(), part.rows.shape
        if sizes != (len(part.counts), *[len(part.rows)] * 2, (len(part.rows), 5)):
            raise ValueError('its parts do not fit each other')
    except Exception as error:  # damaged zip files fail in many ways
        raise EvaluationError(f'{path} is damaged: {error}.') from error
    return part
