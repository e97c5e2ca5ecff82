"""The order in which the VID protocol (see `vid_ap.py`) takes the detections of a class, ties
included, and which objects they hit.

The original sorts ascending with numpy's introsort and reverses. That sort is not stable, so among
equal scores the order looks arbitrary, but it is a function of the input, and AP depends on it:
with scores rounded to 3 decimals, other tie rules move the AP of a class by up to 0.007. Newer
numpy sorts float32 with other, machine-dependent code, but long doubles still with the introsort,
on every machine. Hence the detour: AP equals the original's to the last digits on any processor.

The match does not depend on the speed range except when a detection overlaps two free objects
equally, so it is made once, and again per range only for the images where that happens.

Shapes: n detections, m objects of one class; R ranges; G objects of the class in an image, padded.
"""

import numpy as np

THRESHOLD = np.float32(0.5)
INSERTION = 16  # up to so many items numpy's introsort is an insertion sort, which is stable
BLOCK = 1_000_000  # IoUs held at once: bounds the memory, about 60 bytes for each


def descending(score: np.ndarray) -> np.ndarray:
    """[n] order of a whole set, best first, for scores in ascending image id."""
    return np.argsort(score.astype(np.longdouble), kind='quicksort')[::-1]


def descending_within(group: np.ndarray, score: np.ndarray) -> np.ndarray:
    """[n] order that keeps the groups (ascending) and sorts each like `descending`."""
    order = np.arange(len(score))
    unsorted = group[1:][(group[1:] == group[:-1]) & (score[1:] >= score[:-1])]
    if len(unsorted) == 0:  # the usual case: results come best first, without ties
        return order
    rows = np.flatnonzero(np.isin(group, unsorted))
    group, score = group[rows], score[rows]
    inside = np.lexsort((-np.arange(len(rows)), -score, group))
    tied = (group[inside][1:] == group[inside][:-1]) & (score[inside][1:] == score[inside][:-1])
    ids = np.unique(group[inside][1:][tied])
    starts, stops = np.searchsorted(group, ids), np.searchsorted(group, ids, side='right')
    for start, stop in zip(starts, stops, strict=True):
        if stop - start > INSERTION:
            inside[start:stop] = start + descending(score[start:stop])
    order[rows] = rows[inside]
    return order


def match_class(
    boxes: np.ndarray,
    group: np.ndarray,
    gt_boxes: np.ndarray,
    first: np.ndarray,
    counts: np.ndarray,
    flags: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """What each detection of one class on an image with that class counts for.

    Args:
        boxes: [n, 4] detections, by image, best score first.
        group: [n] their image, as an index into `first` and `counts`; ascending.
        gt_boxes: [m, 4] objects, by image.
        first, counts: [images] where an image's objects start, and how many there are.
        flags: [R, m] they are ignored.

    Returns: `signed` and `obj` of `ClassMatches`.
    """
    outcome = np.zeros((len(flags), len(boxes)))
    hit = np.full(len(boxes), -1)
    padded = 1 << np.ceil(np.log2(counts)).astype(int)  # few sizes, so that few blocks
    size = padded[group]
    for width in np.unique(size):
        rows = np.flatnonzero(size == width)
        step = max(BLOCK // int(width), 1)
        start = 0
        while start < len(rows):
            last = group[rows[min(start + step, len(rows)) - 1]]  # a block has whole images
            stop = int(np.searchsorted(group[rows], last, side='right'))
            block = rows[start:stop]
            slots = np.arange(width)
            valid = slots < counts[group[block], None]
            columns = np.minimum(first[group[block], None] + slots, len(gt_boxes) - 1)
            iou = iou_plus_two(boxes[block, None], gt_boxes[columns])
            iou[~valid] = -1
            outcome[:, block], slot = _match_block(iou, group[block], valid, flags[:, columns])
            hit[block] = np.where(slot >= 0, first[group[block]] + slot, -1)
            start = stop
    return outcome, hit


def _match_block(
    iou: np.ndarray, group: np.ndarray, valid: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes [R, n] of whole images of one class, and [n] the column hit when all count or -1.

    Args:
        iou: [n, G] float32, -1 where there is no object, which `valid` says, too.
        group: [n] ascending; detections of one image best score first.
        ignored: [R, n, G].
    """
    taken_by_first, tied = _greedy(iou, group, None)
    redo = np.isin(group, tied)
    outcome = np.zeros((len(ignored), len(iou)))
    for r, flag in enumerate(ignored):
        match = taken_by_first.copy()
        if redo.any():
            match[redo] = _greedy(iou[redo], group[redo], flag[redo])[0]
        outcome[r] = _miss_weight(iou, valid, flag)
        hit = np.flatnonzero(match >= 0)
        outcome[r, hit] = ~flag[hit, match[hit]]
    return outcome, taken_by_first


def _miss_weight(iou: np.ndarray, valid: np.ndarray, flag: np.ndarray) -> np.ndarray:
    """[n] minus the weight of each detection, were it a false positive in a range."""
    flag = flag & valid
    near_ignored = np.where(flag, iou, -1).max(axis=1)
    near_counted = np.where(flag, -1, iou).max(axis=1)
    share = flag.sum(axis=1) / valid.sum(axis=1)
    weight = np.where(near_counted > near_ignored, 1.0, 0.0)
    return -np.where(near_counted == near_ignored, share, weight)


def _greedy(
    iou: np.ndarray, group: np.ndarray, ignored: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give each detection, best score first, the free object it overlaps most, from 0.5 on: its
    column [n] or -1; and the images in which a tie had to be decided.

    Among free objects of equal overlap the first that counts is taken, else the last.
    All images advance together: step k handles every image's k-th detection that reaches 0.5.

    Args:
        ignored: [n, G] flags of one range; None: all count.
    """
    match = np.full(len(iou), -1)
    able = np.flatnonzero((iou >= THRESHOLD).any(axis=1))
    images, start, length = np.unique(group[able], return_index=True, return_counts=True)
    free = np.ones((len(images), iou.shape[1]), bool)
    tied = np.zeros(len(images), bool)
    for k in range(length.max(initial=0)):
        at = np.flatnonzero(length > k)
        rows = able[start[at] + k]
        candidates = np.where(free[at], iou[rows], -1)
        best = candidates.max(axis=1)
        equal = candidates == best[:, None]
        choice = equal.argmax(axis=1)
        hit = best >= THRESHOLD
        several = hit & (equal.sum(axis=1) > 1)
        tied[at[several]] = True
        if ignored is not None and several.any():
            choice[several] = _tie(equal[several], ignored[rows[several]])
        match[rows[hit]] = choice[hit]
        free[at[hit], choice[hit]] = False
    return match, images[tied]


def _tie(equal: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """[n] column: the first of the equal objects that counts, else the last of them."""
    counted = equal & ~ignored
    last = equal.shape[1] - 1 - equal[:, ::-1].argmax(axis=1)
    return np.where(counted.any(axis=1), counted.argmax(axis=1), last)


def iou_plus_two(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes [..., 4] in float32 with the protocol's double +1, broadcast over `...`."""
    one = np.float32(1)
    ax2, ay2, bx2, by2 = (side + one for side in (a[..., 2], a[..., 3], b[..., 2], b[..., 3]))
    width = np.minimum(ax2, bx2) - np.maximum(a[..., 0], b[..., 0]) + one
    height = np.minimum(ay2, by2) - np.maximum(a[..., 1], b[..., 1]) + one
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (ax2 - a[..., 0] + one) * (ay2 - a[..., 1] + one)
    area_b = (bx2 - b[..., 0] + one) * (by2 - b[..., 1] + one)
    return overlap / (area_a + area_b - overlap)
