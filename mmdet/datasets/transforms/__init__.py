from mmdet.core.errors import UndecodableFrameError
from mmdet.datasets.transforms.affine import RandomAffine, RandomHSV
from mmdet.datasets.transforms.crop import PadToLargest, RandomCrop
from mmdet.datasets.transforms.geometry import RandomChoiceResize, RandomFlip, Resize
from mmdet.datasets.transforms.loading import LoadAnnotations, LoadFrames
from mmdet.datasets.transforms.mixing import MixUp, Mosaic
from mmdet.datasets.transforms.packing import PackClip
from mmdet.datasets.transforms.pipeline import Pipeline, RandomChoice

__all__ = [
    'LoadAnnotations',
    'LoadFrames',
    'MixUp',
    'Mosaic',
    'PackClip',
    'PadToLargest',
    'Pipeline',
    'RandomAffine',
    'RandomChoice',
    'RandomChoiceResize',
    'RandomCrop',
    'RandomFlip',
    'RandomHSV',
    'Resize',
    'UndecodableFrameError',
]
