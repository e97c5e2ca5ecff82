"""Frames of an annotation file with the detections of a results file drawn on them."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from mmdet.core.errors import UndecodableFrameError
from mmdet.core.images import read_image
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.ground_truth import GroundTruth, ground_truth
from mmdet.evaluation.results import read_pkl
from mmdet.structures import Detections
from mmdet.visualization.draw import draw_detections, draw_ground_truth

MAX_LONG_SIDE = 4000  # of an enlarged frame
MIN_SHORT_SIDE = 480  # pixels: smaller frames are enlarged so that labels stay readable


class AnnotatedFrames:
    """Reads frames and draws what was detected (solid) over what is annotated (white dashes).

    Args:
        ann_file: CocoVID (or plain COCO) JSON.
        img_prefix: folder that its file names start from.
        results: `.pkl` of `tools/test.py --out` on the same file.
        classes: names by label; None: the categories of the file.
        score_thr: detections below this score are not drawn.
        show_ground_truth: draw the annotations too.

    Raises:
        ValueError: the results are of another set of images or classes.
    """

    def __init__(
        self,
        ann_file: str | os.PathLike,
        img_prefix: str | os.PathLike,
        results: str | os.PathLike,
        classes: tuple[str, ...] | None = None,
        score_thr: float = 0.5,
        show_ground_truth: bool = True,
    ) -> None:
        self.index = CocoVideoIndex.open(ann_file)
        self.img_prefix = Path(img_prefix)
        self.score_thr, self.show_ground_truth = score_thr, show_ground_truth
        self.truth: GroundTruth = ground_truth(self.index, classes)
        self.classes = self.truth.classes
        images, names = len(self.truth.image_ids), self.classes
        self._results = read_pkl(results, images, len(names), names)

    def detections(self, image: int) -> Detections:
        """Of the image at this position of the index, at or above the threshold."""
        row = np.searchsorted(self.truth.image_ids, self.index.image_ids[image])
        span = slice(*np.searchsorted(self._results.image, [row, row + 1]))
        kept = self._results.score[span] >= self.score_thr
        return Detections(
            boxes=torch.from_numpy(self._results.boxes[span][kept]),
            scores=torch.from_numpy(self._results.score[span][kept]),
            labels=torch.from_numpy(self._results.label[span][kept].astype(np.int64)),
            image_id=int(self.index.image_ids[image]),
        )

    def draw(self, image: int) -> np.ndarray:
        """[H, W, 3] uint8 BGR, enlarged by a whole factor when the frame is small.

        Raises:
            OSError: the frame is missing or cannot be decoded.
        """
        picture, factor = read_enlarged(self.img_prefix / self.index.file_name(image))
        if self.show_ground_truth:
            row = np.searchsorted(self.truth.image_ids, self.index.image_ids[image])
            span = slice(*np.searchsorted(self.truth.image, [row, row + 1]))
            boxes, labels = self.truth.boxes[span] * factor, self.truth.label[span]
            picture = draw_ground_truth(picture, boxes, labels, self.classes)
        found = self.detections(image)
        found.boxes = found.boxes * factor
        return draw_detections(picture, found, self.classes, self.score_thr)

    def video(self, video: int) -> Iterator[np.ndarray]:
        """The frames of the video at this position of the index, in order."""
        for image in self.index.frames_of(video):
            yield self.draw(int(image))

    def busiest_video(self) -> int:
        """Position of the video with the most annotated objects."""
        counts = np.diff(self.index.ann_offsets)
        per_video = [counts[self.index.frames_of(v)].sum() for v in self.index.videos()]
        return int(np.argmax(per_video))

    def spread(self, count: int) -> list[int]:
        """Positions of `count` frames, from as many videos and from all parts of them."""
        videos = [self.index.frames_of(v) for v in self.index.videos()]
        frames = np.concatenate(videos) if videos else np.arange(len(self.index))
        chosen = np.round(np.linspace(0, len(frames) - 1, min(count, len(frames)) * 2 + 1)[1::2])
        return [int(frame) for frame in frames[chosen.astype(int)]]

    def caption(self, image: int) -> str:
        """Where the frame is from: folder and name of its file, without the common beginning."""
        return short_name(self.index.file_name(image))


def read_enlarged(path: Path) -> tuple[np.ndarray, int]:
    """A frame, [H, W, 3] uint8 BGR, and by which whole factor it was enlarged, if it is small.

    Raises:
        OSError: the frame is missing or cannot be decoded.
    """
    try:
        picture = read_image(os.fspath(path))
    except (FileNotFoundError, UndecodableFrameError) as error:
        raise OSError(f'{path} is missing or cannot be decoded.') from error
    factor = -(-MIN_SHORT_SIDE // min(picture.shape[:2]))
    factor = max(min(factor, MAX_LONG_SIDE // max(picture.shape[:2])), 1)
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), factor


def short_name(file_name: str) -> str:
    """Folder and name of a frame's file, without the rest."""
    return str(Path(*Path(file_name).parts[-2:]).with_suffix(''))
