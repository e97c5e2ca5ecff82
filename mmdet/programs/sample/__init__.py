"""A small labelled video dataset, rendered by code, in the ILSVRC layout."""

from mmdet.programs.sample.dataset import SampleSpec, make_sample_vid

__all__ = ['SampleSpec', 'make_sample_vid']
