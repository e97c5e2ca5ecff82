"""Pictures of what a config feeds to its model."""

from mmdet.programs.browse.browse import browse_dataset

__all__ = ['browse_dataset']
