"""The functions that programs start from."""

from mmdet.apis.inference import init_detector
from mmdet.apis.test import test
from mmdet.apis.train import train

__all__ = ['init_detector', 'test', 'train']
