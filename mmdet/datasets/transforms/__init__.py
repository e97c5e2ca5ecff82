from mmdet.core.errors import UndecodableFrameError
from mmdet.datasets.transforms.crop import PadToLargest, RandomCrop
from mmdet.datasets.transforms.geometry import RandomChoiceResize, RandomFlip, Resize
from mmdet.datasets.transforms.loading import LoadAnnotations, LoadFrames
from mmdet.datasets.transforms.packing import PackClip
from mmdet.datasets.transforms.pipeline import Pipeline, RandomChoice

__all__ = [
    'LoadAnnotations',
    'LoadFrames',
    'PackClip',
    'PadToLargest',
    'Pipeline',
    'RandomChoice',
    'RandomChoiceResize',
    'RandomCrop',
    'RandomFlip',
    'Resize',
    'UndecodableFrameError',
]
