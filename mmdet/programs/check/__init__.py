"""Looking for every fault of a dataset before training does."""

from mmdet.programs.check.check import CheckOptions, check_dataset

__all__ = ['CheckOptions', 'check_dataset']
