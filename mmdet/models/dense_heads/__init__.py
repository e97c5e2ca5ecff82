from mmdet.models.dense_heads.centernet_head import CenterNetHead
from mmdet.models.dense_heads.fcos_head import FCOSHead
from mmdet.models.dense_heads.rpn_head import RPNHead
from mmdet.models.dense_heads.yolox_head import YOLOXHead

__all__ = ['CenterNetHead', 'FCOSHead', 'RPNHead', 'YOLOXHead']
