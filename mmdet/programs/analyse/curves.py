"""Precision over recall under the VID protocol: the curves whose area is AP50.

C: classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdet.evaluation.vid_ap import ClassMatches, precision_envelope

RECALL = np.linspace(0, 1, 1001)  # of all curves, so that they can be averaged


@dataclass
class Curves:
    """Precision at each of the recalls, in 0..1.

    Attributes:
        recall: [1001] from 0 to 1.
        precision: [C, 1001] the best precision at this recall or beyond it, 0 where it is not
            reached; NaN for a class without objects.
        mean: [1001] over the classes that have objects.
    """

    recall: np.ndarray
    precision: np.ndarray
    mean: np.ndarray


def precision_recall(matches: Sequence[ClassMatches]) -> Curves:
    """Curves of all classes.

    Args:
        matches: of each class; their first range counts.
    """
    rows = [_curve(found.signed[0], int(found.positives[0])) for found in matches]
    precision = np.array(rows).reshape(-1, len(RECALL))
    scored = ~np.isnan(precision).any(axis=1)
    mean = precision[scored].mean(axis=0) if scored.any() else np.full(len(RECALL), np.nan)
    return Curves(RECALL, precision, mean)


def _curve(signed: np.ndarray, positives: int) -> np.ndarray:
    if positives == 0:
        return np.full(len(RECALL), np.nan)
    reached = np.append(precision_envelope(signed), 0.0)
    hit = np.ceil(RECALL * positives - 1e-9).astype(int) - 1  # the one that reaches the recall
    return reached[np.clip(hit, 0, len(reached) - 1)]
