"""Models: detectors, video methods and their parts. Importing this registers them all."""

from mmdet.models import (
    aggregators,
    backbones,
    batch,
    dense_heads,
    detectors,
    losses,
    memory,
    necks,
    roi_heads,
    task_modules,
    vid,
)

__all__ = [
    'aggregators',
    'backbones',
    'batch',
    'dense_heads',
    'detectors',
    'losses',
    'memory',
    'necks',
    'roi_heads',
    'task_modules',
    'vid',
]
