"""Which mistakes and frames to show: the worst, but not the same thing again and again.

N: images, in ascending id.
"""

from dataclasses import dataclass

import numpy as np

from mmdet.evaluation.evaluate import ScoredSet
from mmdet.programs.analyse.analysis import Analysis
from mmdet.programs.analyse.mistakes import KINDS


@dataclass
class Worst:
    """What is drawn.

    Attributes:
        false: positions in `mistakes.false`.
        missed: rows of objects.
        compared: rows of images.
    """

    false: np.ndarray
    missed: np.ndarray
    compared: np.ndarray

    def images(self, ours: Analysis) -> set[int]:
        """Rows of all images that are needed."""
        false = ours.detections.image[ours.mistakes.false[self.false]]
        parts = (false, ours.objects.image[self.missed], self.compared)
        return set(np.concatenate(parts).tolist())


def first_frames(scored: ScoredSet) -> np.ndarray:
    """The first image of every video: enough to see that the folder is the wrong one."""
    return np.unique(_video_of(scored), return_index=True)[1]


def find_worst(ours: Analysis, baseline: Analysis | None, scored: ScoredSet, num: int) -> Worst:
    """The worst mistakes and largest differences, from different videos where that is possible."""
    video = _video_of(scored)
    mistakes, detections, objects = ours.mistakes, ours.detections, ours.objects
    classes = len(objects.classes)
    group = video[detections.image[mistakes.false]] * classes + detections.label[mistakes.false]
    false = spread(group * len(KINDS) + mistakes.kind, num)
    group = video[objects.image[mistakes.missed]] * classes + objects.label[mistakes.missed]
    missed = mistakes.missed[spread(group, num)]
    compared = np.zeros(0, np.int64)
    if baseline is not None:
        differ = differences(ours, baseline)
        order = np.argsort(-differ, kind='stable')[: np.count_nonzero(differ)]
        compared = order[spread(video[order], num)]
    return Worst(false, missed, compared)


def _video_of(scored: ScoredSet) -> np.ndarray:
    """[N] a number for the video of each image; images without one count as videos."""
    video = scored.index.image_video[scored.positions()].astype(np.int64)
    return np.where(video < 0, len(scored.index.video_ids) + np.arange(len(video)), video)


def differences(a: Analysis, b: Analysis) -> np.ndarray:
    """[N] how much two runs differ on each image.

    The number of objects that only one of them finds, plus the difference of their numbers of false
    positives.
    """
    objects = a.objects
    only_one = np.setxor1d(a.mistakes.missed, b.mistakes.missed)
    only_one = np.bincount(objects.image[only_one], minlength=len(objects.image_ids))
    return only_one + np.abs(a.false_by_image() - b.false_by_image())


def spread(groups: np.ndarray, count: int) -> np.ndarray:
    """Choose from a ranking so that one group does not fill it: neighbouring frames look alike.

    Args:
        groups: [n] group of each entry, best first.
        count: how many to choose.

    Returns:
        Ascending positions: the first of every group come before the second of any, and so on.
    """
    order = np.argsort(groups, kind='stable')
    place = np.empty(len(groups), np.int64)  # within its group
    place[order] = np.arange(len(groups)) - np.searchsorted(groups[order], groups[order])
    return np.sort(np.argsort(place, kind='stable')[:count])
