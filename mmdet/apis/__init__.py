"""The functions that programs start from."""

from mmdet.apis.inference import init_detector
from mmdet.apis.test import test
from mmdet.apis.train import train
from mmdet.apis.video_detector import FrameResult, VideoDetector
from mmdet.core.errors import VideoError

__all__ = ['FrameResult', 'VideoDetector', 'VideoError', 'init_detector', 'test', 'train']
