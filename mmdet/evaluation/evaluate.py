"""Scoring results against an annotation file, for the metric and for `tools/eval.py`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mmdet.core.errors import EvaluationError
from mmdet.core.progress import FrameProgress
from mmdet.datasets.motion import motion_from_mat, motion_from_tracks
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.coco import coco_ap
from mmdet.evaluation.frame_list import read_frame_list
from mmdet.evaluation.ground_truth import GroundTruth, ground_truth
from mmdet.evaluation.rank_detections import load_spills
from mmdet.evaluation.report import Scores, tables, write_report
from mmdet.evaluation.results import DetectionArrays, from_lists, read_coco_json, read_pkl
from mmdet.evaluation.vid_ap import vid_ap
from mmdet.registry import closest

PROTOCOLS = ('vid', 'coco')
VID_US, COCO_US = 0.6, 7.0  # per detection on one core of a server, to say how long it will take
READ_MB_PER_S = 30.0
SAY_FROM_S = 3.0

Results = str | Path | DetectionArrays | Sequence[Sequence[np.ndarray]]


def evaluate_results(
    results: Results,
    ann_file: str | Path,
    classes: Sequence[str] | None = None,
    *,
    metrics: Sequence[str] | str = PROTOCOLS,
    motion_file: str | Path | None = None,
    frame_list: str | Path | None = None,
    work_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> dict[str, float | None]:
    """Score the results of a whole annotation file, print the tables and write the reports.

    Args:
        results: a results file (`.pkl` or COCO `.json`), its nested lists, or flat arrays; always
            of all images of the annotation file.
        ann_file: CocoVID or plain COCO JSON.
        classes: names in label order. None: the file's categories in its order.
        metrics: which protocols, of `vid` and `coco`.
        motion_file: MATLAB file of motion IoUs. None: computed from the track ids.
        frame_list: text file naming the frames to score, see `read_frame_list`. The reports are
            then called `metrics.<stem of the list>.json` and so on.
        work_dir: folder for `metrics.json` and `per_class.csv`. None: not written.
        cache_dir: folder for the annotation index and the motion IoUs. None: beside the file.

    Returns:
        `vid/AP50`, `vid/AP50_fast`, ..., `vid/AP50/<class>`, `coco/AP`, ... in 0..1; None where
        a value is not defined.
    """
    metrics = as_protocols(metrics)
    options = dict(motion_file=motion_file, frame_list=frame_list, cache_dir=cache_dir)
    scored = ScoredSet.open(ann_file, classes, with_motion='vid' in metrics, **options)
    scores = scored.score(scored.read(results), metrics)
    print_log(f'Evaluation on {ann_file}\n{tables(scores)}', logger='current')
    if work_dir is not None:
        paths = write_report(scores, work_dir, Path(frame_list).stem if frame_list else '')
        print_log(f'Written: {paths[0]}, {paths[1]}', logger='current')
    return scores.metrics()


@dataclass
class ScoredSet:
    """What results are scored against: all images of an annotation file, or some of them."""

    index: CocoVideoIndex
    truth: GroundTruth  # of the images that are scored
    motion: str  # where the motion IoUs come from, or why there are none; for people
    whole: GroundTruth  # of all images, which a results file must cover
    rows: np.ndarray | None  # the scored images: ascending rows of `whole.image_ids`; None: all

    @classmethod
    def open(
        cls,
        ann_file: str | Path,
        classes: Sequence[str] | None = None,
        *,
        motion_file: str | Path | None = None,
        frame_list: str | Path | None = None,
        cache_dir: str | Path | None = None,
        with_motion: bool = True,
    ) -> 'ScoredSet':
        """Arguments and errors as of `evaluate_results`; `with_motion`: motion IoUs are needed."""
        index = CocoVideoIndex.open(ann_file, cache_dir)
        motion, source = None, ''
        if with_motion:
            motion, source = _motion(index, motion_file, cache_dir)
        truth = whole = ground_truth(index, classes, motion)
        rows = None
        if frame_list is not None:
            rows = np.searchsorted(truth.image_ids, read_frame_list(frame_list, index))
            truth = truth.select_images(rows)
        return cls(index, truth, source, whole, rows)

    def read(self, results: Results) -> DetectionArrays:
        """The detections of the scored images, out of results of all images."""
        detections = load_results(results, self.whole)
        return detections if self.rows is None else detections.select_images(self.rows)

    def positions(self) -> np.ndarray:
        """[N] where the scored images are in the index."""
        return self.index.positions_of(self.truth.image_ids)

    def file_name(self, image: int) -> str:
        return self.index.file_name(int(self.index.positions_of(self.truth.image_ids[image])))

    def image_areas(self) -> np.ndarray:
        """[N] pixels of the scored images."""
        at = self.positions()
        return self.index.image_widths[at].astype(float) * self.index.image_heights[at]

    def score(self, detections: DetectionArrays, metrics: Sequence[str] = PROTOCOLS) -> Scores:
        """Compute the protocols, saying so where it takes a while."""
        truth, classes, total = self.truth, len(self.truth.classes), len(detections)
        vid = coco = None
        if 'vid' in metrics:
            with progress_of('AP50 (VID)', total, VID_US) as advance:
                vid = vid_ap(detections, truth, advance)
        if 'coco' in metrics:
            with progress_of('AP (COCO)', total, COCO_US) as advance:
                coco = coco_ap(detections, truth, advance)
        return Scores(
            classes=truth.classes,
            images=len(truth.image_ids),
            objects=np.bincount(truth.label[~truth.crowd], minlength=classes),
            detections=np.bincount(detections.label, minlength=classes),
            motion=self.motion,
            vid=vid,
            coco=coco,
        )


def as_protocols(metrics: Sequence[str] | str) -> tuple[str, ...]:
    """One protocol or several, checked."""
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    unknown = [str(name) for name in names if name not in PROTOCOLS]
    if unknown or not names:
        given = repr(unknown[0]) if unknown else 'an empty list'
        raise EvaluationError(
            f'`metrics` got {given}. {closest(unknown[0] if unknown else "", PROTOCOLS)}'
        )
    return names


def load_results(results: Results, truth: GroundTruth) -> DetectionArrays:
    """Flat arrays of results in any form, checked against the ground truth's images and classes."""
    images, classes = len(truth.image_ids), len(truth.classes)
    if isinstance(results, DetectionArrays):
        return results
    if not isinstance(results, str | Path):
        return from_lists(results, images, classes)
    path = Path(results)
    if path.is_dir():
        return load_spills(path, truth)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such results file')
    size = path.stat().st_size / 1e6
    print_log(f'Reading {path} ({size:.1f} MB){about(size / READ_MB_PER_S)}', logger='current')
    if path.suffix in ('.pkl', '.pickle'):
        return read_pkl(path, images, classes, truth.classes)
    if path.suffix == '.json':
        return read_coco_json(path, truth.image_ids, truth.category_ids)
    raise EvaluationError(f'{path}: a results file ends in .pkl or .json')


def _motion(
    index: CocoVideoIndex, motion_file: str | Path | None, cache_dir: str | Path | None
) -> tuple[np.ndarray | None, str]:
    if motion_file is not None:
        return motion_from_mat(motion_file, index), f'from {motion_file}'
    motion = motion_from_tracks(index, cache_dir)
    return motion, 'n/a (no track ids)' if motion is None else 'from the track ids'


def about(seconds: float) -> str:
    """How long something will take, if that is worth saying."""
    return f': about {seconds:.0f} s' if seconds >= SAY_FROM_S else ''


@contextmanager
def progress_of(what: str, total: int, microseconds: float) -> Iterator[Callable[[int], None]]:
    """Say what runs, and how far it is, if it will take seconds."""
    expected = about(total * microseconds / 1e6)
    if not expected:
        yield lambda _: None
        return
    print_log(f'{what} of {total:,} detections{expected}', logger='current')
    with FrameProgress(total, what, unit='detections') as progress:
        yield progress.advance
