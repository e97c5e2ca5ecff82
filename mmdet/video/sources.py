"""Sources of frames: video files, network streams, images, cameras and arrays."""

import difflib
import glob
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from mmdet.core.errors import UndecodableFrameError, VideoError
from mmdet.core.folders import matching_files
from mmdet.core.images import IMAGE_SUFFIXES, is_image, is_video, natural_key, read_image
from mmdet.video.decoding import is_address
from mmdet.video.frame_source import DEFAULT_FPS, FrameSource, SourceFrame
from mmdet.video.video_file import VideoFile

# a path, glob pattern, address, camera number, or uint8 arrays [H, W, 3] in RGB order
Source = str | os.PathLike | int | Iterable[np.ndarray]


def open_source(source: Source, fps: float | None = None) -> FrameSource:
    """The frames of `source`.

    Args:
        source: a video file; a folder or glob pattern of images, taken in natural order (2 before
            10); one image; the number of a camera, as int or digits; an address
            (rtsp://, http://, ...); or an iterable of uint8 arrays [H, W, 3] in **RGB** order.
        fps: frame rate of images and arrays, which have none of their own; 25 when None.

    Raises:
        VideoError: there is no such source, or nothing in it that can be read.
    """
    if fps is not None and not fps > 0:
        raise VideoError(f'fps must be above 0, not {fps}.')
    if isinstance(source, (str, os.PathLike)):
        return _open_named(os.path.expanduser(os.fspath(source)), fps)
    if isinstance(source, int) and not isinstance(source, bool):
        return Camera(source)
    if isinstance(source, Iterable) and not isinstance(source, (bytes, dict)):
        return ArrayFrames(source, fps)
    raise VideoError(
        f'A source is a path, a glob pattern, an address, a camera number or an iterable of RGB '
        f'uint8 arrays [H, W, 3], not {type(source).__name__}.'
    )


def _open_named(name: str, fps: float | None) -> FrameSource:
    path = Path(name)
    if is_address(name):
        return VideoFile(name)
    if path.is_dir():
        return ImageFiles(_images_in(path), name, fps)
    if path.exists():
        return ImageFiles([path], name, fps) if is_image(path) else VideoFile(path)
    if name.isdecimal():
        return Camera(int(name))
    if glob.has_magic(name):
        return ImageFiles(_matches(name), name, fps)
    if not path.parent.is_dir():
        raise VideoError(f'{name} does not exist, nor does its folder.')
    there = [p.name for p in path.parent.iterdir()]
    near = ', '.join(difflib.get_close_matches(path.name, there, n=3, cutoff=0.5))
    raise VideoError(f'{name} does not exist.' + (f' Did you mean: {near}?' if near else ''))


def _images_in(folder: Path) -> list[Path]:
    entries = [p for p in folder.iterdir() if not p.name.startswith('.')]
    images = sorted(filter(is_image, entries), key=lambda p: natural_key(p.name))
    if not images:
        raise VideoError(
            f'{folder} holds no image ({" ".join(sorted(IMAGE_SUFFIXES))}) but '
            f'{_some(sorted(p.name for p in entries)) or "nothing"}. Give a folder of frames, or '
            f'one video file.'
        )
    return images


def _matches(pattern: str) -> list[Path]:
    found = matching_files(pattern)
    images = sorted(filter(is_image, found), key=lambda p: natural_key(p.as_posix()))
    if not images:
        videos = sorted(str(p) for p in found if is_video(p))
        raise VideoError(
            f'{pattern} matches no image.'
            + (f' Give one of its videos at a time: {_some(videos)}.' if videos else '')
        )
    return images


def _some(names: list[str], limit: int = 5) -> str:
    return ', '.join(names[:limit]) + (f', ... ({len(names)} in all)' if names[limit:] else '')


class ImageFiles(FrameSource):
    """Images as the frames of a video, in the order given, turned upright by their EXIF data."""

    def __init__(self, paths: list[Path], name: str, fps: float | None = None) -> None:
        super().__init__(name, offline=True)
        self.paths, self.fps, self.num_frames = paths, fps or DEFAULT_FPS, len(paths)

    def frames(self, stride: int = 1) -> Iterator[SourceFrame]:
        for index in range(0, len(self.paths), stride):
            try:
                image = read_image(self.paths[index])
            except (UndecodableFrameError, OSError) as error:
                self.note_fault(f'is damaged at frame {index}: {error}')
                continue
            yield SourceFrame(index, index / self.fps, image)

    def count(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> np.ndarray:
        """The image; where it cannot be read, the nearest earlier or else later one that can."""
        for near in (*range(index, -1, -1), *range(index + 1, len(self.paths))):
            try:
                return read_image(self.paths[near])
            except (UndecodableFrameError, OSError):
                continue  # noted when its turn comes
        raise VideoError(f'{self.name} has no image that can be read.')

    def frame_name(self, index: int) -> str:
        return self.paths[index].name


class ArrayFrames(FrameSource):
    """Arrays uint8 [H, W, 3] in RGB order. They are copied, so the caller may reuse them."""

    def __init__(self, arrays: Iterable[np.ndarray], fps: float | None = None) -> None:
        super().__init__('the arrays', offline=False)
        self.arrays, self.fps = arrays, fps or DEFAULT_FPS
        self.num_frames = len(arrays) if hasattr(arrays, '__len__') else None

    def frames(self, stride: int = 1) -> Iterator[SourceFrame]:
        for index, array in enumerate(self.arrays):
            if index % stride == 0:
                yield SourceFrame(index, index / self.fps, _bgr(array, index))


def _bgr(array: np.ndarray, index: int) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        given = type(array).__name__
    elif array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        given = f'{array.dtype} {list(array.shape)}'
    else:
        return cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2BGR)
    raise VideoError(
        f'Frame {index} is {given}, but frames are numpy arrays uint8 [height, width, 3] in RGB '
        f'order.'
    )


class Camera(FrameSource):
    """A camera of this machine by its number, through OpenCV; times are those of arrival."""

    live = True

    def __init__(self, number: int) -> None:
        super().__init__(f'camera {number}', offline=False)
        self._device = cv2.VideoCapture(number)
        if not self._device.isOpened():
            self._device.release()
            raise VideoError(
                f'Cannot open camera {number}: none is there, another program uses it, or this '
                f'user may not (on Linux: ls -l /dev/video*).'
            )
        self.fps = self._device.get(cv2.CAP_PROP_FPS) or 30

    def frames(self, stride: int = 1) -> Iterator[SourceFrame]:
        start, index = None, 0
        while True:
            arrived, image = self._device.read()
            if not arrived:
                self.note_fault(f'stopped after frame {index - 1}')
                return
            start = time.monotonic() if start is None else start
            if index % stride == 0:
                yield SourceFrame(index, time.monotonic() - start, image)
            index += 1

    def close(self) -> None:
        self._device.release()
