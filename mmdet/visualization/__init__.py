"""Drawing, videos, pages of frames and plots. `plots` imports matplotlib only when it draws."""

from .draw import draw_boxes, draw_detections, draw_ground_truth
from .palette import class_color

__all__ = ['class_color', 'draw_boxes', 'draw_detections', 'draw_ground_truth']
