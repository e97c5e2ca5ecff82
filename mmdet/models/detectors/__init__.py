from mmdet.models.detectors.faster_rcnn import FasterRCNN

__all__ = ['FasterRCNN']
