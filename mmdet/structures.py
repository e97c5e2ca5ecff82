"""What travels between data, models, evaluation and the API.

Shapes: T frames of a clip (key frame first), K boxes of a frame, N detections.
Boxes are float32 xyxy, without any +1: pixels of the resized, unpadded image inside a model,
pixels of the original image in results.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass
class Frame:
    """One frame on its way from the dataset to the model.

    The dataset fills the identity; `LoadFrames` the image; the transforms keep `image`,
    `img_shape`, `scale_factor`, `flip` and the boxes consistent. Shapes are (height, width).
    """

    path: str
    image_id: int = -1
    video_id: int = 0  # as in init_state()
    frame_id: int = 0
    video_length: int = 1
    role: str = 'ref'  # what the frame is in its clip, see plans.py; the first one is the 'key'
    image: np.ndarray | None = None  # [H, W, 3] uint8 BGR, None once packed
    ori_shape: tuple[int, int] = (0, 0)
    img_shape: tuple[int, int] = (0, 0)  # after the transforms, before padding
    scale_factor: tuple[float, float] = (1.0, 1.0)  # (x, y): resized = original * factor
    flip: bool = False
    # ground truth in pixels of `image`; None where it was not asked for
    boxes: np.ndarray | None = None  # [K, 4] float32
    labels: np.ndarray | None = None  # [K] int64, 0-based class index
    instance_ids: np.ndarray | None = None  # [K] int64
    boxes_ignore: np.ndarray | None = None  # [K', 4] float32

    def map_boxes(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change `boxes` and `boxes_ignore`, where there are any."""
        for name in ('boxes', 'boxes_ignore'):
            boxes = getattr(self, name)
            if boxes is not None:
                setattr(self, name, change(boxes))

    def keep(self, kept: np.ndarray) -> None:
        """Some of the objects, by a mask [K]."""
        self.boxes, self.labels = self.boxes[kept], self.labels[kept]
        if self.instance_ids is not None:
            self.instance_ids = self.instance_ids[kept]


@dataclass
class Clip:
    """A sample: the key frame first, then its references in the order of its plan.

    The pipeline's last transform sets `images`, [U, H, W, 3] uint8 BGR: every distinct image once.
    `rows` tells the image of each of the T frames; without it frame and image have one number.
    `dataset` is there in the pipeline only, for transforms that ask for more than the clip.
    """

    frames: list[Frame]
    images: torch.Tensor | None = None
    rows: list[int] | None = None
    dataset: Any = None

    def __post_init__(self) -> None:
        self.frames[0].role = 'key'

    @property
    def key(self) -> Frame:
        return self.frames[0]

    @property
    def refs(self) -> list[Frame]:
        return self.frames[1:]

    def places(self, *roles: str) -> list[int]:
        """Where the frames of these roles stand in the clip."""
        return [i for i, frame in enumerate(self.frames) if frame.role in roles]

    def row_of(self, place: int) -> int:
        """The image of a frame."""
        return place if self.rows is None else self.rows[place]

    def pin_memory(self) -> 'Clip':
        """The clip with its images where a GPU can fetch them while the host goes on."""
        images = self.images
        if images is not None and not images.is_cuda and not images.is_pinned():
            # copied by NumPy: PyTorch would wake a thread of every core, which then spin
            self.images = torch.empty(images.shape, dtype=images.dtype, pin_memory=True)
            np.copyto(self.images.numpy(), images.numpy())
        return self


@dataclass
class Detections:
    """Detections of one frame, on the CPU, in pixels of the original image."""

    boxes: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 4))  # [N, 4] float32 xyxy
    scores: torch.Tensor = field(default_factory=lambda: torch.zeros(0))  # [N] float32 in 0..1
    labels: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))  # [N]
    image_id: int = -1

    def __len__(self) -> int:
        return len(self.scores)

    def clone(self) -> 'Detections':
        """A copy with tensors of its own."""
        return Detections(
            self.boxes.clone(), self.scores.clone(), self.labels.clone(), self.image_id
        )

    def per_class(self, num_classes: int) -> list[np.ndarray]:
        """A list over classes of (n, 5) float32 [x1, y1, x2, y2, score], best score first."""
        rows = torch.cat([self.boxes, self.scores[:, None]], dim=1).numpy().astype(np.float32)
        labels = self.labels.numpy()
        order = np.argsort(-self.scores.numpy(), kind='stable')
        rows, labels = rows[order], labels[order]
        return [rows[labels == c] for c in range(num_classes)]

    def to_dicts(
        self, class_names: Sequence[str], digits: tuple[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """One `dict(name, label, score, box=[x1, y1, x2, y2])` of plain values per detection.

        Args:
            digits: decimals of the boxes and of the scores, here and below; None: all.
        """
        return [
            {'name': class_names[label], 'label': label, 'score': score, 'box': box}
            for label, score, box in self._values(self.boxes, digits)
        ]

    def to_coco(
        self, image_id: int | None = None, digits: tuple[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of a COCO results file: boxes are [x, y, width, height], categories label + 1.

        Args:
            image_id: instead of the one of these detections.
        """
        image = self.image_id if image_id is None else image_id
        return [
            {'image_id': image, 'category_id': label + 1, 'bbox': box, 'score': score}
            for label, score, box in self._values(self._xywh(), digits)
        ]

    def to_mot(self, frame: int, digits: tuple[int, int] | None = None) -> list[list[float]]:
        """Rows of a MOTChallenge file: frame, -1 (no track), x, y, w, h, score, class, -1, -1.

        Args:
            frame: number of the frame, from 1. Classes are label + 1; boxes stay 0-based pixels.
        """
        return [
            [frame, -1, *box, score, label + 1, -1, -1]
            for label, score, box in self._values(self._xywh(), digits)
        ]

    def to_supervision(self) -> dict[str, np.ndarray]:
        """Arguments of `supervision.Detections`: xyxy [N, 4], confidence [N], class_id [N]."""
        return {
            'xyxy': self.boxes.numpy().astype(np.float32),
            'confidence': self.scores.numpy().astype(np.float32),
            'class_id': self.labels.numpy().astype(int),
        }

    def _xywh(self) -> torch.Tensor:
        return torch.cat([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], dim=1)

    def _values(
        self, boxes: torch.Tensor, digits: tuple[int, int] | None
    ) -> Iterator[tuple[int, float, list[float]]]:
        """Label, score and box of each detection. Rounded as arrays: in plain Python, rounding was
        half of the time of writing a frame."""
        columns = boxes.double().numpy(), self.scores.double().numpy()
        if digits is not None:
            columns = tuple(map(np.round, columns, digits))
        return zip(self.labels.tolist(), columns[1].tolist(), columns[0].tolist(), strict=True)
