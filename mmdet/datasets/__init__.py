from mmdet.core.errors import AnnotationError
from mmdet.datasets import samplers, transforms
from mmdet.datasets.coco_video_dataset import (
    CocoVideoDataset,
    ImagenetVIDDataset,
    collate_clips,
)
from mmdet.datasets.concat_dataset import ConcatDataset
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES
from mmdet.datasets.parsers import CocoVideoIndex

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
