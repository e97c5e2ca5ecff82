"""Results of a video to files, frame by frame: nothing is kept in memory.

Every writer is a context manager. What was written before an error or Ctrl-C is kept and valid.
"""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import FileIO, StringIO
from pathlib import Path

import cv2
import numpy as np

from mmdet.apis.video_detector import FrameResult, VideoStream
from mmdet.core.errors import VideoError
from mmdet.core.fileio import atomic_write, writing
from mmdet.video.frame_source import DEFAULT_FPS
from mmdet.video.writer import VideoWriter, exact_rate
from mmdet.visualization import draw_detections

DIGITS = 3, 5  # of boxes (pixels to 0.001) and scores in text files


class ResultWriter(AbstractContextManager):
    """Writes results of `stream` to `path`, whose folder is made where it is missing."""

    def __init__(
        self, path: str | os.PathLike, stream: VideoStream, classes: Sequence[str]
    ) -> None:
        self.path, self.stream, self.classes = Path(path), stream, classes

    def write(self, result: FrameResult) -> None:
        """Append one frame."""
        raise NotImplementedError


class _LineWriter(ResultWriter):
    """One file of lines. It has its name from the first frame on, so that it can be followed while
    it grows; lines are written whole, so it is valid at any time, on a full disk, too."""

    _file: FileIO | None = None

    def write(self, result: FrameResult) -> None:
        data = self.lines(result).encode()
        with writing(self.path):
            if self._file is None:
                self._file = self._begin(self.head().encode() + data)
            else:
                self._append(data)

    def _begin(self, data: bytes) -> FileIO:
        """The open file with its first lines; an older one of its name gives way to whole lines."""
        with atomic_write(self.path, 'wb') as file:
            file.write(data)
        return open(self.path, 'ab', buffering=0)

    def _append(self, data: bytes) -> None:
        """Whole lines, or none of them when the disk is full."""
        end = self._file.tell()
        try:
            while data:  # a disk that is nearly full takes a part
                data = data[self._file.write(data) :]
        except OSError:
            self._file.truncate(end)
            raise

    def head(self) -> str:
        return ''

    def lines(self, result: FrameResult) -> str:
        raise NotImplementedError

    def __exit__(self, *exception) -> None:
        if self._file is not None:
            self._file.close()


class JsonLinesWriter(_LineWriter):
    """A JSON object per frame: frame, time_s, width, height, detections (see `to_dicts`)."""

    def lines(self, result: FrameResult) -> str:
        height, width = result.image.shape[:2]
        row = {
            'frame': result.frame_index,
            'time_s': round(result.timestamp_s, 4),
            'width': width,
            'height': height,
            'detections': result.detections.to_dicts(self.classes, DIGITS),
        }
        return json.dumps(row) + '\n'


class CsvWriter(_LineWriter):
    """A table with a row per detection; frames without one have none."""

    COLUMNS = ('frame', 'time_s', 'label', 'name', 'score', 'x1', 'y1', 'x2', 'y2')

    def head(self) -> str:
        return ','.join(self.COLUMNS) + '\n'

    def lines(self, result: FrameResult) -> str:
        text = StringIO()
        table = csv.writer(text, lineterminator='\n')
        place = result.frame_index, round(result.timestamp_s, 4)
        for row in result.detections.to_dicts(self.classes, DIGITS):
            table.writerow([*place, row['label'], row['name'], row['score'], *row['box']])
        return text.getvalue()


class MotWriter(_LineWriter):
    """A MOTChallenge detection file, see `Detections.to_mot`; frames count from 1."""

    def lines(self, result: FrameResult) -> str:
        rows = result.detections.to_mot(result.frame_index + 1, DIGITS)
        return ''.join(','.join(map(str, row)) + '\n' for row in rows)


class CocoWriter(ResultWriter):
    """A CocoVID file of this one video, with scores: a results file and labels to start from.

    Its `annotations` have the fields of COCO results (see `Detections.to_coco`) and those of
    annotations, without tracks. It appears when the video ends.
    """

    def __enter__(self) -> 'CocoWriter':
        self._num_images = self._num_detections = 0
        self._open = atomic_write(self.path)
        self._file = self._open.__enter__()
        self._images = tempfile.TemporaryFile('w+', encoding='utf-8', dir=self.path.parent)
        categories = [{'id': i, 'name': name} for i, name in enumerate(self.classes, 1)]
        videos = [{'id': 1, 'name': self.stream.source.name}]
        self._file.write(f'{{"videos": {json.dumps(videos)},\n')
        self._file.write(f'"categories": {json.dumps(categories)},\n"annotations": [')
        return self

    def write(self, result: FrameResult) -> None:
        with writing(self.path):
            self._append(result)

    def _append(self, result: FrameResult) -> None:
        height, width = result.image.shape[:2]
        image = {
            'id': result.detections.image_id,
            'file_name': self.stream.source.frame_name(result.frame_index),
            'height': height,
            'width': width,
            'frame_id': self._num_images,
            'video_id': 1,
        }
        self._images.write(_separator(self._num_images) + json.dumps(image))
        self._num_images += 1
        for row in result.detections.to_coco(digits=DIGITS):
            area = round(row['bbox'][2] * row['bbox'][3], DIGITS[0])
            row = {'id': self._num_detections + 1, 'video_id': 1, **row, 'area': area, 'iscrowd': 0}
            self._file.write(_separator(self._num_detections) + json.dumps(row))
            self._num_detections += 1

    def __exit__(self, *exception) -> None:
        try:
            with writing(self.path), self._images:
                self._file.write('],\n"images": [')
                self._images.seek(0)
                shutil.copyfileobj(self._images, self._file)
                self._file.write(']}\n')
        except BaseException as error:  # nothing half-written
            self._open.__exit__(type(error), error, error.__traceback__)
            raise
        # what was found is kept after errors, too
        self._open.__exit__(*((None, None, None) if self._num_images else exception))


class DrawnVideoWriter(ResultWriter):
    """The frames with their detections as H.264, with the times and pixel aspect of the source."""

    def __init__(
        self, path: str | os.PathLike, stream: VideoStream, classes: Sequence[str]
    ) -> None:
        super().__init__(path, stream, classes)
        try:
            self._video = VideoWriter(path, stream.fps or DEFAULT_FPS)
        except ValueError as error:
            raise VideoError(str(error)) from error

    def write(self, result: FrameResult) -> None:
        if not self._video.num_frames and self.stream.fps:  # may be known only now
            self._video.fps = exact_rate(self.stream.fps)
        self._video.pixel_aspect = self.stream.source.pixel_aspect
        image = drawn(result, self.classes)
        try:
            self._video.write(image, result.timestamp_s)
        except (ValueError, RuntimeError) as error:  # another size, no encoder
            raise VideoError(str(error)) from error

    def __exit__(self, *exception) -> None:
        self._video.__exit__(*exception)


def drawn(result: FrameResult, classes: Sequence[str]) -> np.ndarray:
    """The frame with its detections, [H, W, 3] uint8 BGR."""
    image = cv2.cvtColor(result.image, cv2.COLOR_RGB2BGR)
    return draw_detections(image, result.detections, classes, score_thr=0)


def _separator(before: int) -> str:
    return ',\n' if before else '\n'
