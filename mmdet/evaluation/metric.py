"""Detections of a test loop, collected from all ranks, written and scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmdet.core.errors import EvaluationError, VFEError, WriteError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.evaluate import PROTOCOLS, about, as_protocols, evaluate_results
from mmdet.evaluation.gather import Group, broadcast_object, gather_objects
from mmdet.evaluation.ground_truth import GroundTruth, ground_truth
from mmdet.evaluation.rank_detections import RankDetections, remove_spill, write_spill
from mmdet.evaluation.results import write_coco_json, write_pkl
from mmdet.registry import METRICS
from mmdet.structures import Detections

WRITE_US = 2.0  # per detection, on one core of a server


@METRICS.register_module()
class VideoDetectionMetric(BaseMetric):
    """AP50 of the VID protocol (by class and motion) and AP of COCO, of all frames of a set.

    Every image of the annotation file must come exactly once, from whichever rank; ranks may hold
    different numbers, or none. Rank 0 scores and writes, and all ranks get the metrics.

    A setting that cannot work is an error at once, not after the test.

    Args:
        ann_file, classes: as of `evaluate_results`. None: those of the dataset, where the loop
            tells them (`dataset_meta`).
        motion_file, work_dir, metrics, frame_list, cache_dir: as of `evaluate_results`.
        out_file: write the results there (`.pkl`).
        format_only: write COCO results to `<outfile_prefix>.bbox.json` and score nothing.
        outfile_prefix: None: `<work_dir>/results`.
        evaluate: False: only write what is asked for.
        vid_style: taken from 1.x's commands and ignored: both protocols are always reported.
        prefix: put before the names of the metrics, with a slash.

    Attributes:
        group: through which the ranks' detections are gathered; the loop opens it, see `cpu_group`.
    """

    default_prefix = ''

    def __init__(
        self,
        ann_file: str | Path | None = None,
        classes: Sequence[str] | None = None,
        motion_file: str | Path | None = None,
        out_file: str | Path | None = None,
        format_only: bool = False,
        outfile_prefix: str | Path | None = None,
        work_dir: str | Path | None = None,
        metrics: Sequence[str] | str = PROTOCOLS,
        frame_list: str | Path | None = None,
        evaluate: bool = True,
        cache_dir: str | Path | None = None,
        vid_style: bool | None = None,
        prefix: str | None = None,
    ):
        super().__init__(collect_device='cpu', prefix=prefix)
        self.group: Group = None
        if out_file is not None and Path(out_file).suffix not in ('.pkl', '.pickle'):
            raise EvaluationError(f'out_file must end in .pkl, got {out_file}')
        if format_only and outfile_prefix is None and work_dir is None:
            raise EvaluationError('format_only needs outfile_prefix or work_dir, to write to')
        for name, path in (('motion_file', motion_file), ('frame_list', frame_list)):
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(f'{name}={path}: there is no such file')
        self.ann_file, self.classes, self.cache_dir = ann_file, classes, cache_dir
        self.out_file, self.format_only, self.work_dir = out_file, format_only, work_dir
        self.outfile_prefix = outfile_prefix or Path(work_dir or '.') / 'results'
        self.scores = evaluate and not format_only
        self.options = dict(metrics=as_protocols(metrics), work_dir=work_dir, cache_dir=cache_dir)
        self.options |= dict(motion_file=motion_file, frame_list=frame_list)
        if self.scores and ann_file is not None:
            self._truth()  # a wrong file or class is an error now, not after the test

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """`classes` and `ann_file` of the dataset; the loop tells them before it starts."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict[str, Any] | None) -> None:
        self._dataset_meta = meta
        self._truth()

    def _source(self) -> str | Path:
        """The annotation file: what is only written is of the images that were tested."""
        tested = (self.dataset_meta or {}).get('ann_file')
        named, other = (self.ann_file, tested) if self.scores else (tested, self.ann_file)
        if named is None and other is None:
            raise EvaluationError(
                'The evaluator has no `ann_file`, and the dataset names none: set '
                '`test_evaluator.ann_file` (in training `val_evaluator.ann_file`).'
            )
        return other if named is None else named

    def _truth(self) -> GroundTruth:
        classes = self.classes or (self.dataset_meta or {}).get('classes')
        return ground_truth(CocoVideoIndex.open(self._source(), self.cache_dir), classes)

    def process(self, data_batch: Any, data_samples: Sequence[Detections]) -> None:
        """Keep the detections of a batch."""
        self.results.append(RankDetections.of(data_samples))

    def evaluate(self, size: int) -> dict[str, float | None]:
        """Score everything that was processed on all ranks; `size` is not needed.

        An error is one on all ranks; it says where the detections are kept that it did not lose.
        """
        part = RankDetections.joined(self.results)
        spilled = write_spill(part, self.work_dir, get_rank())
        gathered = gather_objects(part, self.group)
        error, metrics = None, None
        if gathered is not None:
            try:
                metrics = self.compute_metrics(gathered)
            except Exception as failure:  # the other ranks wait: tell them before it goes up
                error = failure
        told = None if error is None else f'{type(error).__name__}: {error}'
        told, metrics = broadcast_object((told, metrics), self.group)
        self.results.clear()
        if error is not None:
            raise _with_place(error, spilled)
        if told is not None:
            raise EvaluationError(f'Rank 0 could not evaluate. {told}')
        remove_spill(spilled)
        return {f'{self.prefix}/{k}' if self.prefix else k: v for k, v in metrics.items()}

    def compute_metrics(self, results: list[RankDetections]) -> dict[str, float | None]:
        """Write and score what all ranks have."""
        truth = self._truth()
        detections = RankDetections.joined(results).arrays(truth)
        if self.out_file is not None:
            expected = about(len(detections) * WRITE_US / 1e6)
            print_log(f'Writing the results to {self.out_file}{expected}', logger='current')
            images, names = len(truth.image_ids), truth.classes
            write_pkl(self.out_file, detections, images, len(names), names)
        if self.format_only:
            path = f'{self.outfile_prefix}.bbox.json'
            print_log(f'Writing the results in the COCO format to {path}', logger='current')
            write_coco_json(path, detections, truth.image_ids, truth.category_ids)
        if not self.scores:
            return {}
        return evaluate_results(detections, self._source(), truth.classes, **self.options)


def _with_place(error: Exception, spilled: Path | None) -> Exception:
    if spilled is None or not isinstance(error, VFEError | OSError):
        return error
    kept = (
        f'{error} The detections are kept in {spilled.parent}: `python tools/eval.py CONFIG '
        f'{spilled.parent}` scores them.'
    )
    return type(error)(kept) if isinstance(error, VFEError) else WriteError(kept)
