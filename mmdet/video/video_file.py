"""A video file or network stream as a source of frames."""

import os
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
import numpy as np
from av.format import Flags

from mmdet.video.decoding import (
    FrameTable,
    SeekingReader,
    announced_seconds,
    decoded,
    is_address,
    open_video,
    scan,
    turned,
    upright,
)
from mmdet.video.frame_source import DEFAULT_FPS, Clock, FrameSource, SourceFrame

MAX_FPS = 480  # beyond it, a rate is the resolution of a clock (webm of browsers says 1000)


class VideoFile(FrameSource):
    """A file, or an address like http://... or rtsp://..., which is read in order only.

    Images are upright. The index of a frame counts the frames that decode, in the order of display;
    its time is relative to the first frame.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        is_url = is_address(self.path)
        super().__init__(self.path if is_url else os.path.basename(self.path), offline=not is_url)
        self.live = is_url and not self.path.lower().startswith('http')
        self._container, self._stream = open_video(self.path)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps: Fraction | None = rate if rate and rate <= MAX_FPS else None
        seconds = announced_seconds(self._stream)
        by_time = round(seconds * self.fps) if seconds and self.fps else None
        self.num_frames = self._stream.frames or by_time
        self._count: int | None = None
        self._table: FrameTable | None = None
        self._reader: SeekingReader | None = None

    def frames(self, stride: int = 1) -> Iterator[SourceFrame]:
        clock, seconds, index = self._clock(), 0.0, -1
        first = last = None
        for found in decoded(self._container, self._stream):
            if isinstance(found, av.error.FFmpegError):
                self.note_fault(
                    f'is damaged after frame {index} ({seconds:.2f} s): {found.strerror}'
                )
                continue
            index += 1
            now = index / (self.fps or DEFAULT_FPS) if found.time is None else found.time
            if index == 0:
                first, self.pixel_aspect = now, self._pixel_aspect(found)
            last = now if last is None else max(last, now)
            seconds = clock.seconds(float(now))
            if found.is_corrupt:
                self.note_fault(f'is damaged at frame {index} ({seconds:.2f} s)')
            if index % stride == 0:
                yield SourceFrame(index, seconds, upright(found))
        self._check_end(index, seconds, float(last - first) if index >= 0 else 0.0)

    def _clock(self) -> Clock:
        jumps = bool(self._container.format.flags & Flags.ts_discont.value) or not self.offline
        return Clock(1 / float(self.fps or DEFAULT_FPS), jumps)

    def _pixel_aspect(self, frame: av.VideoFrame) -> Fraction:
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        return 1 / aspect if turned(frame) else aspect

    def _check_end(self, last: int, seconds: float, span: float) -> None:
        """Note when less came than the header announces, by count (where it counts) and time;
        `span`: what the time stamps cover."""
        frames, end = self._stream.frames, announced_seconds(self._stream)
        enough = end is None or end - span < 2.5 / (self.fps or DEFAULT_FPS)
        if not enough and last + 1 < (frames or float('inf')):
            announced = f'{frames} frames' if frames else f'{end:.2f} s'
            self.note_fault(
                f'breaks off after frame {last} ({seconds:.2f} s): its header announces {announced}'
            )

    def count(self) -> int:
        """Frames that are there; reads the file through, without decoding, the first time."""
        if self._count is None:
            self._table = scan(self.path)
            if self._table is None:
                self._count = _count_decoded(self.path)
            else:
                times, self._count = self._table.times, len(self._table)
                span = int(times[-1] - times[0]) if len(times) > 1 else 0
                if self.fps is None and span:
                    self.fps = (len(times) - 1) / (span * self._stream.time_base)
            self.num_frames = self._count
        return self._count

    def read(self, index: int) -> np.ndarray:
        """The frame; where it is lost to damage, one beside it. May raise VideoError."""
        if self._reader is None:
            self.count()
            self._reader = SeekingReader(self.path, self._table)
        frame = self._reader.read(index)
        self.pixel_aspect = self._pixel_aspect(frame)
        return upright(frame)

    def frame_name(self, index: int) -> str:
        return f'{os.path.splitext(self.name)[0]}/{super().frame_name(index)}'

    def close(self) -> None:
        self._container.close()
        if self._reader is not None:
            self._reader.close()


def _count_decoded(path: str) -> int:
    container, stream = open_video(path)
    with container:
        return sum(isinstance(frame, av.VideoFrame) for frame in decoded(container, stream))
