"""Drawing on frames, and pages of frames."""

from mmdet.visualization.contact_sheet import contact_sheet
from mmdet.visualization.draw import draw_boxes, draw_detections, draw_ground_truth
from mmdet.visualization.palette import class_color

__all__ = ['class_color', 'contact_sheet', 'draw_boxes', 'draw_detections', 'draw_ground_truth']
