from . import samplers, transforms
from .coco_video_dataset import CocoVideoDataset
from .collate import collate_clips
from .concat_dataset import ConcatDataset
from .imagenet_classes import IMAGENET_VID_CLASSES
from .imagenet_vid_dataset import ImagenetVIDDataset
from .parsers import AnnotationError, CocoVideoIndex

__all__ = [
    'IMAGENET_VID_CLASSES',
    'AnnotationError',
    'CocoVideoDataset',
    'CocoVideoIndex',
    'ConcatDataset',
    'ImagenetVIDDataset',
    'collate_clips',
    'samplers',
    'transforms',
]
