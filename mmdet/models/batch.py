"""From clips on the CPU to what a model computes on.

Shapes: B clips (videos) of T frames, N distinct images of them, padded height H and width W; K
boxes of a frame at most.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame


@dataclass
class GroundTruth:
    """The objects of B frames, filled up to K >= 1: boxes [B, K, 4] in pixels of the resized image,
    0-based labels [B, K], and which of them exist [B, K]."""

    boxes: Tensor
    labels: Tensor
    valid: Tensor


@dataclass
class ClipBatch:
    """Clips of one padded size on the model's device.

    `images` is [N, 3, H, W], normalised RGB, zero right of and below each image; `img_shapes`
    [N, 2] float32 holds their (height, width) before padding. The image of frame t of clip b is
    `first_row[b] + clips[b].row_of(t)`. `gt` belongs to the key frames and is None in testing.
    `scale`: the images' pixels are so many of the clips' (training at several sizes).
    """

    images: Tensor
    img_shapes: Tensor
    first_row: list[int]
    clips: list[Clip]
    gt: GroundTruth | None = None
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def key_rows(self) -> list[int]:
        return [first + clip.row_of(0) for first, clip in self._clips()]

    def _clips(self) -> Iterator[tuple[int, Clip]]:
        return zip(self.first_row, self.clips, strict=True)

    def rows(self, clip: int, places: Iterable[int]) -> list[int]:
        """The images of these frames of a clip."""
        return [self.first_row[clip] + self.clips[clip].row_of(place) for place in places]

    def take(self, x: Tensor, rows: list[int]) -> Tensor:
        """Rows of `images`, of `img_shapes` or of what was computed of all images; no copy where
        these are all of them in their order."""
        if rows == list(range(len(x))):
            return x
        if rows == list(range(rows[0], rows[0] + len(rows))):
            return x[rows[0] : rows[0] + len(rows)]
        return x.index_select(0, to_device(np.asarray(rows, np.int64), x.device))


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A small array on the device; on a GPU from pinned memory, so that the host does not wait."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == 'cuda':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class PendingCopy:
    """A tensor on its way to the CPU, for which nobody waits until `get`."""

    def __init__(self, x: Tensor) -> None:
        self._copy = x.to('cpu', non_blocking=True)  # from a GPU into pinned memory
        self._arrived = None
        if x.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def get(self) -> Tensor:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._copy


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Colour order, normalisation and padding of uint8 clips, on the model's device.

    Clips of different size are never padded to each other, which would change their features:
    they come out as separate batches.

    Args:
        mean, std: per channel, in 0..255 and in the order after `bgr_to_rgb`.
        bgr_to_rgb: the clips are BGR (as decoded) and the model wants RGB.
        pad_size_divisor: sides are padded to a multiple of this.
        pad_value: of the padding, in 0..255 like the images; None: 0 after normalisation.
        pad_to_square: both sides are padded to the longer one.

    Attributes:
        dtype: of the images; that of the backbone's weights once a model is prepared.
        train_side: in training, images padded to a square are resized to this side; None: not.
    """

    def __init__(
        self,
        mean: tuple[float, ...] = (123.675, 116.28, 103.53),
        std: tuple[float, ...] = (58.395, 57.12, 57.375),
        bgr_to_rgb: bool = True,
        pad_size_divisor: int = 16,
        pad_value: float | None = None,
        pad_to_square: bool = False,
    ) -> None:
        super().__init__()
        self.bgr_to_rgb = bgr_to_rgb
        self.divisor = pad_size_divisor
        self.pad_value = pad_value
        self.pad_to_square = pad_to_square
        self.dtype = torch.float32
        self.channels_last = True
        self.train_side: int | None = None
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer('scale', 1 / torch.tensor(std, dtype=torch.float32), persistent=False)

    def forward(self, data: list[Clip], training: bool = False) -> dict[str, list[ClipBatch]]:
        """`dict(batches=[...])`, one batch per padded size."""
        groups: dict[tuple, list[Clip]] = {}
        for clip in data:
            _, height, width, _ = clip.images.shape
            groups.setdefault(self.padded(height, width), []).append(clip)
        batches = [self.batch(clips, size, training) for size, clips in groups.items()]
        return dict(batches=batches)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The size that images of this size are padded to."""
        sides = (max(height, width),) * 2 if self.pad_to_square else (height, width)
        return tuple(-(-side // self.divisor) * self.divisor for side in sides)

    def batch(self, clips: list[Clip], size: tuple[int, int], training: bool) -> ClipBatch:
        counts = [len(clip.images) for clip in clips]
        first_row = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int).tolist()
        shapes = np.repeat([clip.images.shape[1:3] for clip in clips], counts, axis=0)
        # channels last in memory: the layout in which convolutions run fastest
        images = torch.zeros(sum(counts), *size, 3, dtype=self.dtype, device=self.mean.device)
        if self.pad_value is not None:
            images.copy_((self.pad_value - self.mean) * self.scale)
        for block, first in _upload(clips, first_row, self.mean.device):
            _, height, width, _ = block.shape
            target = images[first : first + len(block), :height, :width]
            target.copy_((self._rgb(block) - self.mean) * self.scale)
        images, scale = images.permute(0, 3, 1, 2), 1.0
        if training and self.train_side is not None:
            scale = self.train_side / size[0]
            side = (self.train_side,) * 2
            images = F.interpolate(images, side, mode='bilinear', align_corners=False)
        if not self.channels_last:
            images = images.contiguous()
        img_shapes = to_device(shapes.astype(np.float32) * np.float32(scale), self.mean.device)
        keys = [clip.key for clip in clips]
        gt = ground_truth(keys, self.mean.device, scale) if training else None
        return ClipBatch(images, img_shapes, first_row, clips, gt, scale)

    def _rgb(self, pixels: Tensor) -> Tensor:
        return pixels.flip(-1) if self.bgr_to_rgb else pixels


def ground_truth(frames: Sequence[Frame], device: torch.device, scale: float = 1.0) -> GroundTruth:
    """The objects of frames, filled up to the largest number of them (at least 1).

    Args:
        scale: of the boxes.
    """
    counts = np.array([len(frame.labels) for frame in frames])
    most = max(1, counts.max())
    boxes = np.zeros((len(frames), most, 4), np.float32)
    labels = np.zeros((len(frames), most), np.int64)
    for i, frame in enumerate(frames):
        boxes[i, : counts[i]] = np.asarray(frame.boxes, np.float32).reshape(-1, 4) * scale
        labels[i, : counts[i]] = frame.labels
    valid = np.arange(most) < counts[:, None]
    return GroundTruth(*(to_device(a, device) for a in (boxes, labels, valid)))


def _upload(
    clips: list[Clip], first_row: list[int], device: torch.device
) -> Iterator[tuple[Tensor, int]]:
    """The images of the clips on the device, those of neighbours of one size in one block, with the
    number of its first image. A GPU copies from pinned memory while the host goes on."""
    for _, group in groupby(zip(clips, first_row, strict=True), lambda c: c[0].images.shape[1:]):
        members = list(group)
        if device.type != 'cuda':
            parts = [clip.images for clip, _ in members]
            yield parts[0] if len(parts) == 1 else torch.cat(parts), members[0][1]
            continue
        parts = [clip.pin_memory().images for clip, _ in members]
        block = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:], device=device)
        for target, part in zip(block.split([len(p) for p in parts]), parts, strict=True):
            target.copy_(part, non_blocking=True)
        yield block, members[0][1]
