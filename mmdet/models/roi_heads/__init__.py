from mmdet.models.roi_heads.bbox_head import Shared2FCBBoxHead
from mmdet.models.roi_heads.relation_head import RelationBBoxHead
from mmdet.models.roi_heads.roi_extractor import SingleRoIExtractor
from mmdet.models.roi_heads.selsa_roi_head import MambaBBoxHead, SelsaBBoxHead, SelsaRoIHead
from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead

__all__ = [
    'MambaBBoxHead',
    'RelationBBoxHead',
    'SelsaBBoxHead',
    'SelsaRoIHead',
    'Shared2FCBBoxHead',
    'SingleRoIExtractor',
    'StandardRoIHead',
]
