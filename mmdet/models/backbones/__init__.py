from mmdet.models.backbones.resnet import ResNet
from mmdet.models.backbones.stpn_swin import STPNSwinTransformer
from mmdet.models.backbones.swin import SwinTransformer

__all__ = ['ResNet', 'STPNSwinTransformer', 'SwinTransformer']
