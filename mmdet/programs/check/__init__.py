"""Looking for every fault of a dataset before training does."""

from mmdet.programs.check.check import CheckOptions, check_dataset, print_report

__all__ = ['CheckOptions', 'check_dataset', 'print_report']
