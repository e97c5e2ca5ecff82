from mmdet.models.vid.base import BaseVideoDetector, VideoState

__all__ = ['BaseVideoDetector', 'VideoState']
