"""Comparing detections that another batch size or number of threads rounds differently."""

from mmdet.structures import Detections


def share_found(expected: Detections, found: Detections, score: float, box: float) -> float:
    """The share of the expected detections of which there is one of the same class, with nearly the
    same score and box, in whatever order: near-equal scores change places."""
    if len(expected) == 0:
        return float(len(found) == 0)
    alike = expected.labels[:, None] == found.labels
    alike &= (expected.scores[:, None] - found.scores).abs() < score
    alike &= (expected.boxes[:, None] - found.boxes).abs().amax(dim=2) < box
    return float(alike.any(dim=1).float().mean())
