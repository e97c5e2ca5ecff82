"""vfe.pytorch: video object detection. The distribution is `vfe-pytorch`, the package `mmdet`."""

__version__ = '3.0.0.dev0'
