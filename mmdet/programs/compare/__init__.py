"""Several configs with several seeds: what they were made from, and their mean and spread."""

from mmdet.programs.compare.runs import RunError, compare

__all__ = ['RunError', 'compare']
