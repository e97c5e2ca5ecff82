"""ImageNet VID, and the ImageNet DET images it is trained with."""

from mmdet.datasets.coco_video_dataset import CocoVideoDataset
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES
from mmdet.registry import DATASETS


@DATASETS.register_module()
class ImagenetVIDDataset(CocoVideoDataset):
    """`CocoVideoDataset` with the 30 classes of ImageNet VID, unless `classes` names others."""

    CLASSES = IMAGENET_VID_CLASSES
