"""Anchors, assigners, samplers, coders, suppression: everything without weights."""

from mmdet.models.task_modules.anchor_generator import AnchorGenerator
from mmdet.models.task_modules.assigner import MaxIoUAssigner, box_iou
from mmdet.models.task_modules.bbox_coder import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.nms import batched_nms, sorted_nms
from mmdet.models.task_modules.sampler import RandomSampler, Samples
from mmdet.models.task_modules.sim_ota import SimOTAAssigner

__all__ = [
    'AnchorGenerator',
    'DeltaXYWHBBoxCoder',
    'MaxIoUAssigner',
    'RandomSampler',
    'Samples',
    'SimOTAAssigner',
    'batched_nms',
    'box_iou',
    'sorted_nms',
]
