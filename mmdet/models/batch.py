"""From clips on the CPU to what a model computes on.

Shapes: B clips (videos) of T frames, padded height H and width W; K boxes of a frame.
"""

from dataclasses import dataclass

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.structures import Clip


@dataclass
class GroundTruth:
    """Boxes [K, 4] in pixels of the resized image and 0-based labels [K] of one frame."""

    boxes: Tensor
    labels: Tensor


@dataclass
class ClipBatch:
    """Clips of one padded size and length on the model's device.

    `images` is [B, T, 3, H, W], normalised RGB, zero right of and below each image. `gts` holds the
    key frame's ground truth of every clip in training and is empty in testing.
    """

    images: Tensor
    clips: list[Clip]
    gts: list[GroundTruth]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def key_images(self) -> Tensor:
        return self.images[:, 0]


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Colour order, normalisation and padding of uint8 clips, on the model's device.

    Clips of different size are never padded to each other, which would change their features:
    they come out as separate batches.

    Args:
        mean, std: per channel, in 0..255 and in the order after `bgr_to_rgb`.
        bgr_to_rgb: the clips are BGR (as decoded) and the model wants RGB.
        pad_size_divisor: sides are padded to a multiple of this.
    """

    def __init__(
        self,
        mean: tuple[float, ...] = (123.675, 116.28, 103.53),
        std: tuple[float, ...] = (58.395, 57.12, 57.375),
        bgr_to_rgb: bool = True,
        pad_size_divisor: int = 16,
    ) -> None:
        super().__init__()
        self.bgr_to_rgb = bgr_to_rgb
        self.divisor = pad_size_divisor
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer('scale', 1 / torch.tensor(std, dtype=torch.float32), persistent=False)

    def forward(self, data: list[Clip], training: bool = False) -> dict[str, list[ClipBatch]]:
        """`dict(batches=[...])`, one batch per padded size and clip length."""
        groups: dict[tuple, list[Clip]] = {}
        for clip in data:
            frames, height, width, _ = clip.images.shape
            groups.setdefault((frames, self.pad(height), self.pad(width)), []).append(clip)
        batches = [self.batch(clips, size, training) for size, clips in groups.items()]
        return dict(batches=batches)

    def pad(self, side: int) -> int:
        return -(-side // self.divisor) * self.divisor

    def batch(self, clips: list[Clip], size: tuple[int, int, int], training: bool) -> ClipBatch:
        images = torch.zeros(len(clips), *size, 3, device=self.mean.device)
        for target, clip in zip(images, clips, strict=True):
            pixels = clip.images.to(self.mean.device, non_blocking=True)
            if self.bgr_to_rgb:
                pixels = pixels.flip(-1)
            _, height, width, _ = pixels.shape
            torch.mul(pixels - self.mean, self.scale, out=target[:, :height, :width])
        # channels last in memory: the layout in which convolutions run fastest
        images = images.permute(0, 1, 4, 2, 3)
        return ClipBatch(images, clips, [self._gt(c) for c in clips] if training else [])

    def _gt(self, clip: Clip) -> GroundTruth:
        device = self.mean.device
        return GroundTruth(
            torch.as_tensor(clip.key.boxes, dtype=torch.float32, device=device).reshape(-1, 4),
            torch.as_tensor(clip.key.labels, dtype=torch.long, device=device),
        )
