"""Small heads with outputs that vary, and objects to train them with."""

import torch
from torch import Tensor, nn

from mmdet.models.batch import GroundTruth

SIZES = {8: (8, 12), 16: (4, 6), 32: (2, 3), 64: (1, 2), 128: (1, 1)}  # of a 64x96 image
IMAGE = (60, 90)  # before padding


def maps(strides, channels: int, images: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(images, channels, *SIZES[s], generator=generator) for s in strides)


def lively(head: nn.Module, std: float = 0.3) -> nn.Module:
    """Random weights of every parameter with more than one axis, so that outputs differ."""
    torch.manual_seed(3)
    for parameter in head.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=std / parameter[0].numel() ** 0.5)
    return head


def shapes(images: int) -> Tensor:
    return torch.tensor([IMAGE] * images, dtype=torch.float32)


def padded(boxes: list[list[list[float]]], labels: list[list[int]]) -> GroundTruth:
    """Ground truth of a batch from each image's boxes and labels; what is added is nonsense."""
    most = max(map(len, boxes))
    out = GroundTruth(
        boxes=torch.full((len(boxes), most, 4), 7.0),
        labels=torch.full((len(boxes), most), 1),
        valid=torch.zeros(len(boxes), most, dtype=torch.bool),
    )
    out.boxes[..., 2:] = 50
    for i, (rows, classes) in enumerate(zip(boxes, labels, strict=True)):
        for k, (row, label) in enumerate(zip(rows, classes, strict=True)):
            out.boxes[i, k] = torch.tensor(row)
            out.labels[i, k] = label
            out.valid[i, k] = True
    return out


def one_image(gt: GroundTruth, i: int) -> GroundTruth:
    return GroundTruth(gt.boxes[i : i + 1], gt.labels[i : i + 1], gt.valid[i : i + 1])
