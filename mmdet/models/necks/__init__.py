from mmdet.models.necks.necks import FPN, ChannelMapper

__all__ = ['FPN', 'ChannelMapper']
