"""The order in which the VID protocol takes detections, ties included.

The original sorts ascending with numpy's introsort and reverses. That sort is not stable, so among
equal scores the order looks arbitrary, but it is a function of the input, and AP depends on it:
with scores rounded to 3 decimals, other tie rules move the AP of a class by up to 0.007. Newer
numpy sorts float32 with other, machine-dependent code, but long doubles still with the introsort,
on every machine. Hence the detour: AP equals the original's to the last digits on any processor.
"""

import numpy as np

INSERTION = 16  # up to so many items numpy's introsort is an insertion sort, which is stable


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
