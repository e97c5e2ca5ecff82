from mmdet.datasets.parsers.coco_video_parser import CocoVideoIndex

__all__ = ['CocoVideoIndex']
