"""Everything that is known about the results of one run: scores, curves, confusions, mistakes.

N: images, in ascending id. C: classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdet.evaluation.evaluate import PROTOCOLS, VID_US, ScoredSet, progress_of
from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.evaluation.report import Scores
from mmdet.evaluation.results import DetectionArrays
from mmdet.evaluation.vid_ap import ClassMatches, MotionRange, match_by_class, precision_envelope
from mmdet.programs.analyse.mistakes import Mistakes, confusion_matrix, find_mistakes

RECALL = np.linspace(0, 1, 1001)  # of all curves, so that they can be averaged


@dataclass
class Analysis:
    """Of one run, on the images of a `ScoredSet`.

    Attributes:
        objects: the ground truth without crowds; the rows in `mistakes` are of it.
        detections: all of them; likewise.
        scores: what `tools/eval.py` prints.
        precision: [C, 1001] at each recall of `RECALL`, see `precision_recall`.
        confusion: [C + 1, C + 1], see `confusion_matrix`.
        mistakes: at the score threshold.
    """

    objects: GroundTruth
    detections: DetectionArrays
    scores: Scores
    precision: np.ndarray
    confusion: np.ndarray
    mistakes: Mistakes

    def mean_precision(self) -> np.ndarray:
        """[1001] over the classes that have objects."""
        scored = ~np.isnan(self.precision).any(axis=1)
        return self.precision[scored].mean(axis=0) if scored.any() else np.full(len(RECALL), np.nan)

    def false_by_image(self) -> np.ndarray:
        """[N] number of false positives."""
        image = self.detections.image[self.mistakes.false]
        return np.bincount(image, minlength=len(self.objects.image_ids))

    def errors_by_image(self) -> np.ndarray:
        """[N] number of false positives and missed objects."""
        image = self.objects.image[self.mistakes.missed]
        return self.false_by_image() + np.bincount(image, minlength=len(self.objects.image_ids))


def analyze(
    scored: ScoredSet,
    detections: DetectionArrays,
    score_thr: float,
    metrics: Sequence[str] = PROTOCOLS,
) -> Analysis:
    """Score detections and look at what is behind the scores.

    Args:
        scored: the images and their ground truth.
        detections: of these images.
        score_thr: of confusions and mistakes, in 0..1.
        metrics: protocols to compute; `vid` must be among them.
    """
    scores = scored.score(detections, metrics)
    objects = scored.truth.select(~scored.truth.crowd)
    every_object = [MotionRange('all', np.zeros(len(objects.label), bool), 0.0)]
    matches = []
    with progress_of('Curves and mistakes', len(detections), VID_US) as advance:
        for match in match_by_class(detections, objects, every_object):
            matches.append(match)
            advance(len(match.det))
    return Analysis(
        objects=objects,
        detections=detections,
        scores=scores,
        precision=precision_recall(matches),
        confusion=confusion_matrix(detections, objects, score_thr),
        mistakes=find_mistakes(matches, detections, objects, score_thr, scored.image_areas()),
    )


def precision_recall(matches: Sequence[ClassMatches]) -> np.ndarray:
    """[C, 1001] precision at each recall of `RECALL`: the curves whose area is AP50 (VID).

    The best precision at this recall or beyond it, 0 where it is not reached, NaN for a class
    without objects. `matches` are of each class; their first range counts.
    """
    rows = [_curve(match.signed[0], int(match.positives[0])) for match in matches]
    return np.array(rows).reshape(-1, len(RECALL))


def _curve(signed: np.ndarray, positives: int) -> np.ndarray:
    if positives == 0:
        return np.full(len(RECALL), np.nan)
    reached = np.append(precision_envelope(signed), 0.0)
    hit = np.ceil(RECALL * positives - 1e-9).astype(int) - 1  # the one that reaches the recall
    return reached[np.clip(hit, 0, len(reached) - 1)]
