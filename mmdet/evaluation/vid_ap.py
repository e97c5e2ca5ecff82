"""AP50 of the ImageNet VID protocol, over all objects and by their speed.

The protocol is that of the published tables (the motion-specific evaluation of FGFA, as carried on
by MEGA and vfe.pytorch 1.x), with its quirks, because those tables are what people compare with:

- IoU in float32, on boxes 2 pixels wider and higher than xyxy says (the +1 is applied twice);
- an object outside a speed range is *ignored*: it still takes its best detection, which then counts
  neither way, and a miss nearer to ignored than to counted objects does not count either;
- a detection on an image without its class weighs, in a speed range, only as much as the share of
  objects in that range (`MotionRange.empty_weight`), but 1 in the range of all objects.

Equal scores are taken in the order of the original (`vid_matching.py`), for images in ascending id.

Shapes: n detections, m objects, of the whole set or of one class as said; R ranges; C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.evaluation.results import DetectionArrays, rows_by_class
from mmdet.evaluation.vid_matching import descending, descending_within, match_class

SPEEDS = {'fast': (0.0, 0.7), 'medium': (0.7, 0.9), 'slow': (0.9, 1.0)}  # motion IoU, ends included


@dataclass
class MotionRange:
    """Which objects count."""

    name: str  # all, fast, medium or slow
    ignored: np.ndarray  # [m] bool, the objects outside the range
    empty_weight: float  # of a detection on an image without its class; 0 stands for 1


@dataclass
class VIDResult:
    """AP50 in 0..1, NaN where a class has no object in the range."""

    ranges: list[str]  # names of the R ranges, `all` first
    ap: np.ndarray  # [R, C]
    mean: np.ndarray  # [R] over the classes that have objects


@dataclass
class ClassMatches:
    """What the detections of one class count for, best score first."""

    det: np.ndarray  # [n] rows of the detections
    signed: np.ndarray  # [R, n] as `average_precision` takes it
    obj: np.ndarray  # [n] row of the object that each hits when all objects count, -1 without one
    positives: np.ndarray  # [R] numbers of objects that count


def vid_ap(
    detections: DetectionArrays,
    truth: GroundTruth,
    advance: Callable[[int], None] = lambda _: None,
) -> VIDResult:
    """Score detections under the VID protocol.

    Args:
        detections: of all images; `image` counts the rows of `truth.image_ids`.
        truth: crowd objects do not take part. Without motion IoUs only the range of all objects is
            scored.
        advance: called after each class with the number of its detections (progress).
    """
    objects = truth.select(~truth.crowd)
    ranges = motion_ranges(objects)
    ap = np.full((len(ranges), len(truth.classes)), np.nan)
    for c, matches in enumerate(match_by_class(detections, objects, ranges)):
        for r, positives in enumerate(matches.positives):
            if positives:
                ap[r, c] = average_precision(matches.signed[r], positives)
        advance(len(matches.det))
    defined = ~np.isnan(ap).all(axis=1)
    mean = np.full(len(ranges), np.nan)
    mean[defined] = np.nanmean(ap[defined], axis=1)
    return VIDResult([r.name for r in ranges], ap, mean)


def match_by_class(
    detections: DetectionArrays, objects: GroundTruth, ranges: Sequence[MotionRange]
) -> Iterator[ClassMatches]:
    """The matches of each class in turn; `objects` are without crowds."""
    classes = len(objects.classes)
    det_by_class = rows_by_class(detections.label, classes)
    obj_by_class = rows_by_class(objects.label, classes)
    for det, obj in zip(det_by_class, obj_by_class, strict=True):
        det = det[descending_within(detections.image[det], detections.score[det])]
        yield _match(detections, objects, det, obj, ranges)


def motion_ranges(objects: GroundTruth) -> list[MotionRange]:
    """The range of all objects, and with motion IoUs the three speeds.

    The share behind `empty_weight` counts every object, and every image without objects as one
    more of motion IoU 0, as the official motion file does.
    """
    ranges = [MotionRange('all', np.zeros(len(objects.label), bool), 0.0)]
    motion = objects.motion
    if motion is None:
        return ranges
    empty_images = len(objects.image_ids) - len(np.unique(objects.image))
    for name, (low, high) in SPEEDS.items():
        inside = (motion >= low) & (motion <= high)
        count = inside.sum() + (empty_images if low <= 0 else 0)
        share = count / max(len(motion) + empty_images, 1)
        ranges.append(MotionRange(name, ~inside, 0.0 if share == 1 else float(share)))
    return ranges


def _match(
    detections: DetectionArrays,
    objects: GroundTruth,
    det: np.ndarray,
    obj: np.ndarray,
    ranges: Sequence[MotionRange],
) -> ClassMatches:
    """Matches of one class, of whose detections [n] and objects [m] these are the rows, by image
    and, within an image, best score first."""
    flags = np.stack([r.ignored[obj] for r in ranges])
    images, first = np.unique(objects.image[obj], return_index=True)
    group_of_image = np.full(len(objects.image_ids), -1, np.int32)
    group_of_image[images] = np.arange(len(images))
    group = group_of_image[detections.image[det]]
    near = np.flatnonzero(group >= 0)  # detections on images with the class
    counts = np.diff(np.append(first, len(obj)))
    outcome, hit = match_class(
        detections.boxes[det[near]], group[near], objects.boxes[obj], first, counts, flags
    )
    empty = np.array([[r.empty_weight or 1.0] for r in ranges])
    signed = np.repeat(-empty, len(det), axis=1)
    signed[:, near] = outcome
    rows = np.full(len(det), -1)
    rows[near[hit >= 0]] = obj[hit[hit >= 0]]
    order = descending(detections.score[det])
    return ClassMatches(det[order], signed[:, order], rows[order], (~flags).sum(axis=1))


def average_precision(signed: np.ndarray, positives: int) -> float:
    """All-point AP of n detections, best first, given the number of objects that count.

    Args:
        signed: [n] +1 for a hit, minus its weight for a false positive, 0 for one that is dropped.
    """
    return float(precision_envelope(signed).sum() / positives)


def precision_envelope(signed: np.ndarray) -> np.ndarray:
    """[hits] the best precision at the recall of the first, second, ... hit or beyond it."""
    hits = np.flatnonzero(signed > 0)  # recall changes at the hits only
    false = np.cumsum(np.maximum(-signed, 0))[hits]
    true = np.arange(1, len(hits) + 1)
    precision = true / (true + false + np.finfo(np.float64).eps)
    return np.maximum.accumulate(precision[::-1])[::-1]
