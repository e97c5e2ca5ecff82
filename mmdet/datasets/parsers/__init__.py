from .coco_video_parser import AnnotationError, CocoVideoIndex

__all__ = ['AnnotationError', 'CocoVideoIndex']
