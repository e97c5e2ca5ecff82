"""Confusion matrix: what the detector says where an object of a class is.

C: classes; row and column C are the background.
"""

import numpy as np

from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.evaluation.results import DetectionArrays
from mmdet.evaluation.vid_matching import descending_within, match_class


def confusion_matrix(
    detections: DetectionArrays, objects: GroundTruth, score_thr: float
) -> np.ndarray:
    """Counts of (class of the object, class of the detection).

    Detections and objects are matched as the VID protocol matches those of one class (IoU 0.5, best
    score first), but whatever their class: an object counts as what the surest detection on it
    says. The background's row holds detections on no object, or on one that is taken; its column
    the objects without a detection.

    Args:
        detections: of all images.
        objects: without crowds.
        score_thr: detections below this score (0..1) are left out.

    Returns:
        [C + 1, C + 1] int64; rows: objects, columns: detections.
    """
    det = np.flatnonzero(detections.score >= score_thr)
    det = det[descending_within(detections.image[det], detections.score[det])]
    images, first, counts = np.unique(objects.image, return_index=True, return_counts=True)
    near = det[np.isin(detections.image[det], images)]
    group = np.searchsorted(images, detections.image[near])
    flags = np.zeros((1, len(objects.image)), bool)
    hit = match_class(detections.boxes[near], group, objects.boxes, first, counts, flags)[1]
    return _counts(detections.label, objects.label, det, near, hit, len(objects.classes))


def _counts(
    det_label: np.ndarray,
    obj_label: np.ndarray,
    det: np.ndarray,
    near: np.ndarray,
    hit: np.ndarray,
    classes: int,
) -> np.ndarray:
    """The matrix, of the detections `det` of which those in `near` hit the objects `hit`."""
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    found, objects = near[hit >= 0], hit[hit >= 0]
    np.add.at(matrix, (obj_label[objects], det_label[found]), 1)
    missed = np.setdiff1d(np.arange(len(obj_label)), objects)
    np.add.at(matrix, (obj_label[missed], classes), 1)
    np.add.at(matrix, (classes, det_label[np.setdiff1d(det, found)]), 1)
    return matrix
