from mmdet.models.losses.losses import CrossEntropyLoss, SmoothL1Loss

__all__ = ['CrossEntropyLoss', 'SmoothL1Loss']
