from mmdet.models.roi_heads.bbox_head import Shared2FCBBoxHead
from mmdet.models.roi_heads.roi_extractor import SingleRoIExtractor
from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead

__all__ = ['Shared2FCBBoxHead', 'SingleRoIExtractor', 'StandardRoIHead']
