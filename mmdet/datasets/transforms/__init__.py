from .crop import PadToLargest, RandomCrop
from .geometry import RandomChoiceResize, RandomFlip, Resize
from .loading import LoadAnnotations, LoadFrames, UndecodableFrameError
from .packing import PackClip
from .pipeline import Pipeline, RandomChoice

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
