"""Any frame of a finished run, read back from its files: no frame is kept in memory."""

import json
import threading
from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmdet.video.video_file import VideoFile


class ClassTimeline(NamedTuple):
    """When a class is seen: on how many `frames`, and on which share of the frames of each of B
    stretches of time ([B], 0..1)."""

    label: int
    name: str
    frames: int
    share: np.ndarray


class FinishedRun:
    """The drawn frames and the detections of a run, by position (0 for its first frame).

    Memory: 8 bytes per frame for where its JSON line starts, and the table of the mp4.

    Raises:
        VideoError, OSError: a file cannot be read.
    """

    def __init__(self, video: Path, lines: Path) -> None:
        self._path, self._video = lines, VideoFile(video)
        self._lock = threading.Lock()  # one reader, which seeks, for all requests
        self._starts = array('Q')
        with open(lines, 'rb') as file:
            start = 0
            for line in file:
                self._starts.append(start)
                start += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, position: int) -> dict[str, Any]:
        """The line of a frame: frame, time_s, width, height, detections."""
        with open(self._path, 'rb') as file:
            file.seek(self._starts[position])
            return json.loads(file.readline())

    def image(self, position: int) -> np.ndarray:
        """The frame with its boxes, [H, W, 3] uint8 BGR; up to one pixel more than the source."""
        with self._lock:
            return self._video.read(position)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width by height of a pixel of `image` as it is to be shown; known with the first one."""
        return self._video.pixel_aspect

    def num_detections(self) -> int:
        return sum(len(row['detections']) for row in self._rows())

    def timeline(self, stretches: int = 120) -> list[ClassTimeline]:
        """Of each class that was found, the most frequent one first, over so many parts of equal
        length, at most one a frame."""
        stretches = min(stretches, len(self))
        seen: dict[tuple[int, str], np.ndarray] = {}
        sizes = np.zeros(stretches)
        for position, row in enumerate(self._rows()):
            stretch = position * stretches // len(self)
            sizes[stretch] += 1
            for key in {(found['label'], found['name']) for found in row['detections']}:
                seen.setdefault(key, np.zeros(stretches))[stretch] += 1
        timelines = [ClassTimeline(*key, int(n.sum()), n / sizes) for key, n in seen.items()]
        return sorted(timelines, key=lambda t: (-t.frames, t.label))

    def _rows(self) -> Iterator[dict[str, Any]]:
        with open(self._path, 'rb') as file:
            yield from map(json.loads, file)

    def close(self) -> None:
        with self._lock:
            self._video.close()
