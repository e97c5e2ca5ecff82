"""What is wrong at a score threshold: false positives by kind, missed objects, confusions.

m: objects (without crowds), N: images, C: classes; in a confusion matrix C is the background.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdet.evaluation.ground_truth import GroundTruth, pairs_of_images
from mmdet.evaluation.results import DetectionArrays
from mmdet.evaluation.vid_ap import ClassMatches
from mmdet.evaluation.vid_matching import (
    THRESHOLD,
    descending_within,
    iou_plus_two,
    match_class,
)

KINDS = ('duplicate', 'wrong class', 'poor localisation', 'background')
BLOCK = 500_000  # detections compared at once: bounds the memory
NEAR = np.float32(0.1)  # IoU from which a box is about an object, as in TIDE (Bolya et al. 2020)


@dataclass
class Mistakes:
    """What went wrong.

    Attributes:
        false: [f] rows of the detections that are false positives, best score first.
        kind: [f] index into KINDS.
        iou: [f] overlap with the object in `near`, 0 without one.
        near: [f] row of the object that the kind is about, -1 for the background.
        hit_score: [m] score of the detection that hits the object, at any score; NaN without one.
        missed: [x] rows of the objects that no detection from the threshold on hits, the largest
            part of its image first: what stands out most and should have been found.
    """

    false: np.ndarray
    kind: np.ndarray
    iou: np.ndarray
    near: np.ndarray
    hit_score: np.ndarray
    missed: np.ndarray


def find_mistakes(
    matches: Sequence[ClassMatches],
    detections: DetectionArrays,
    objects: GroundTruth,
    score_thr: float,
    image_area: np.ndarray,
) -> Mistakes:
    """Sort out the matches of all classes.

    A false positive is a *duplicate* if it overlaps an object of its class by half (which a better
    one has taken), else of the *wrong class* if it overlaps an object of another class by half,
    else of *poor localisation* if it overlaps an object of its class by a tenth, else *background*.

    Args:
        matches: of each class; their first range counts.
        detections, objects: what was matched.
        score_thr: 0..1. The best detections are matched first, so those below do not matter.
        image_area: [N] pixels.
    """
    hit_score = np.full(len(objects.label), np.nan, np.float32)  # compared as scores are
    false = []
    for match in matches:
        hit = match.obj >= 0
        hit_score[match.obj[hit]] = detections.score[match.det[hit]]
        false.append(match.det[~hit & (detections.score[match.det] >= score_thr)])
    false = np.concatenate(false)
    false = false[np.argsort(-detections.score[false], kind='stable')]
    kind, iou, near = _kinds(detections, objects, false)
    missed = np.flatnonzero(~(hit_score >= score_thr))
    share = objects.area[missed] / image_area[objects.image[missed]]
    missed = missed[np.argsort(-share, kind='stable')]
    return Mistakes(false, kind, iou, near, hit_score, missed)


def _kinds(
    detections: DetectionArrays, objects: GroundTruth, false: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind, overlap and object of each false positive."""
    own, own_obj = _best_overlap(detections, objects, false, same_class=True)
    other, other_obj = _best_overlap(detections, objects, false, same_class=False)
    conditions = [own >= THRESHOLD, other >= THRESHOLD, own >= NEAR]
    kind = np.select(conditions, [0, 1, 2], 3)
    iou = np.select(conditions, [own, other, own], np.float32(0))
    near = np.select(conditions, [own_obj, other_obj, own_obj], -1)
    return kind, iou, near


def _best_overlap(
    detections: DetectionArrays, objects: GroundTruth, rows: np.ndarray, same_class: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The largest IoU of each detection with objects of its class (or of others), and with which.

    0 and -1 without any.
    """
    best, which = np.zeros(len(rows), np.float32), np.full(len(rows), -1)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        det, obj = pairs_of_images(detections.image[block], objects.image)
        same = detections.label[block[det]] == objects.label[obj]
        det, obj = det[same == same_class], obj[same == same_class]
        iou = iou_plus_two(detections.boxes[block[det]], objects.boxes[obj])
        order = np.argsort(iou, kind='stable')  # the largest is written last
        best[start + det[order]], which[start + det[order]] = iou[order], obj[order]
    return best, which


def confusion_matrix(
    detections: DetectionArrays, objects: GroundTruth, score_thr: float
) -> np.ndarray:
    """[C + 1, C + 1] counts of (class of the object, class of the detection).

    Detections and objects are matched as the VID protocol matches those of one class (IoU 0.5, best
    score first), but whatever their class: an object counts as what the surest detection on it
    says. The background's row holds detections on no object, or on one that is taken; its column
    the objects without a detection.
    """
    det = np.flatnonzero(detections.score >= score_thr)
    det = det[descending_within(detections.image[det], detections.score[det])]
    images, first, counts = np.unique(objects.image, return_index=True, return_counts=True)
    near = det[np.isin(detections.image[det], images)]
    group = np.searchsorted(images, detections.image[near])
    flags = np.zeros((1, len(objects.image)), bool)
    hit = match_class(detections.boxes[near], group, objects.boxes, first, counts, flags)[1]

    background = len(objects.classes)
    matrix = np.zeros((background + 1, background + 1), np.int64)
    hits, taken = near[hit >= 0], hit[hit >= 0]
    missed = np.setdiff1d(np.arange(len(objects.label)), taken)
    np.add.at(matrix, (objects.label[taken], detections.label[hits]), 1)
    np.add.at(matrix, (objects.label[missed], background), 1)
    np.add.at(matrix, (background, detections.label[np.setdiff1d(det, hits)]), 1)
    return matrix
