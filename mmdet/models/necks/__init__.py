from mmdet.models.necks.ct_resnet_neck import CTResNetNeck
from mmdet.models.necks.necks import FPN, ChannelMapper
from mmdet.models.necks.yolox_pafpn import YOLOXPAFPN

__all__ = ['FPN', 'YOLOXPAFPN', 'CTResNetNeck', 'ChannelMapper']
