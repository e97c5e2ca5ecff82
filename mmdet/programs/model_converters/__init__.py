"""Checkpoints of other code bases under the names of this one, and back."""

from mmdet.programs.model_converters.convert import convert_checkpoint

__all__ = ['convert_checkpoint']
