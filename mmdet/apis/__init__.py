"""The functions that programs start from."""

from mmdet.apis.frame_source import VideoError
from mmdet.apis.inference import init_detector
from mmdet.apis.test import test
from mmdet.apis.train import train
from mmdet.apis.video_detector import FrameResult, VideoDetector

__all__ = ['FrameResult', 'VideoDetector', 'VideoError', 'init_detector', 'test', 'train']
