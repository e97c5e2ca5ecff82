"""Models: detectors, video methods and their parts. Importing this registers them all."""

from mmdet.models import (
    aggregators,
    backbones,
    batch,
    contexts,
    dense_heads,
    detectors,
    losses,
    necks,
    roi_heads,
    task_modules,
    vid,
)

__all__ = [
    'aggregators',
    'backbones',
    'batch',
    'contexts',
    'dense_heads',
    'detectors',
    'losses',
    'necks',
    'roi_heads',
    'task_modules',
    'vid',
]
