"""From other annotation formats to CocoVID JSON.

What is wrong in the input is a `ConversionError` that names the file and the row or element; then
nothing is written.
"""

from mmdet.programs.convert.conversion import FORMATS, ConvertOptions, to_cocovid
from mmdet.programs.convert.ilsvrc import VID_LISTS, convert_det, convert_vid

__all__ = ['FORMATS', 'VID_LISTS', 'ConvertOptions', 'convert_det', 'convert_vid', 'to_cocovid']
