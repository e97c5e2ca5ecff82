from mmdet.models.detectors.base import Detector
from mmdet.models.detectors.faster_rcnn import FasterRCNN
from mmdet.models.detectors.one_stage import OneStageDetector

__all__ = ['Detector', 'FasterRCNN', 'OneStageDetector']
