"""Drawing, videos, pages of frames and plots. `plots` imports matplotlib only when it draws."""

from .contact_sheet import contact_sheet, write_picture
from .draw import draw_boxes, draw_detections, draw_ground_truth
from .palette import class_color
from .video_writer import VideoWriter

__all__ = [
    'VideoWriter',
    'class_color',
    'contact_sheet',
    'draw_boxes',
    'draw_detections',
    'draw_ground_truth',
    'write_picture',
]
