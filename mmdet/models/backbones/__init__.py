from mmdet.models.backbones.csp_darknet import CSPDarknet
from mmdet.models.backbones.resnet import ResNet
from mmdet.models.backbones.stpn_swin import STPNSwinTransformer
from mmdet.models.backbones.swin import SwinTransformer
from mmdet.models.backbones.tdvit import TDViTTransformer

__all__ = ['CSPDarknet', 'ResNet', 'STPNSwinTransformer', 'SwinTransformer', 'TDViTTransformer']
