"""H.264 video from BGR frames."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from mmengine.logging import print_log

from mmdet.core.fileio import write_error, writing
from mmdet.video.file_sink import FileSink

# container by file ending; `+faststart` puts the index first, so that browsers play while loading
_CONTAINERS = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska'}
_CODECS = ('libx264', 'libopenh264', 'mpeg4')  # the first one that this PyAV has
_TICKS_PER_S = 60_000  # MPEG-4 allows no more than 65535
KEY_FRAME_EVERY_S = 2  # at most: to show any frame, those since the last key frame are decoded
_QUALITY = '20'  # constant rate factor of x264: visually clean
_BT709 = 1  # ITU-T H.273: colours of HD video, what players assume when nothing is said


class VideoWriter:
    """Writes frames to `path` as H.264 (yuv420p), readable by any player and browser.

    A context manager. The file grows under a temporary name in the same folder and takes its name
    when the block ends. When the block is left by an exception or Ctrl-C, what was written so far
    is closed properly and kept as a valid, shorter video; without a frame there is no file.

    H.264 with 4:2:0 colours needs even sizes: of odd ones, a row or column at the border is
    repeated.

    Args:
        path: ends in .mp4, .m4v, .mov or .mkv. Missing folders are made.
        fps: frames per second, > 0. 29.97 and the like become exact fractions (30000/1001).
        pixel_aspect: width by height of a pixel as players show it.

    Raises:
        ValueError: unknown ending, fps not positive, a frame of another size or type.
        RuntimeError: the block ended without a single frame.
        WriteError: the file cannot be written; names it and the reason.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float | Fraction,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _CONTAINERS:
            legal = ', '.join(_CONTAINERS)
            raise ValueError(f'Cannot tell the container of {str(path)!r}. Legal endings: {legal}.')
        if not 0 < fps < 1000:
            raise ValueError(f'The frame rate must lie between 0 and 1000, got {fps}.')
        self.fps = exact_rate(fps)
        self.size: tuple[int, int] | None = None  # (width, height), of the first frame
        self.pixel_aspect = pixel_aspect
        self.num_frames = 0
        self._last_tick = -1
        self._temporary: Path | None = None
        self._sink: FileSink | None = None
        self._container = None
        self._stream = None

    def __enter__(self) -> 'VideoWriter':
        return self

    def write(self, image: np.ndarray, time_s: float | None = None) -> None:
        """Append one frame, [H, W, 3] uint8 BGR, to be shown at `time_s` seconds (None: when the
        rate says)."""
        self._check(image)
        with _writing(self.path):
            if self._container is None:
                self._open()
            self._encode(image, self.num_frames / self.fps if time_s is None else time_s)
            self._sink.check()
        self.num_frames += 1

    def _encode(self, image: np.ndarray, time_s: float | Fraction) -> None:
        padded = _pad_to_even(image)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format='bgr24')
        frame = frame.reformat(format='yuv420p', dst_colorspace='ITU709', dst_color_range='MPEG')
        tick = _tick(self.fps)
        self._last_tick = frame.pts = max(round(time_s / tick), self._last_tick + 1)
        frame.time_base, frame.duration = tick, round(1 / self.fps / tick)
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if self._container is None:
            if kind is None:
                raise RuntimeError(f'Not a single frame was given, so {self.path} was not written.')
            return
        try:
            with _writing(self.path):
                self._finish()
        except BaseException:
            with suppress(OSError):
                self._temporary.unlink()
            if kind is None:
                raise  # otherwise the first error is the one to see

    def _finish(self) -> None:
        try:
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()
        except av.error.FFmpegError:
            self._sink.check()  # the reason rather than what follows from it
            raise
        finally:
            self._sink.close()
        self._sink.check()
        os.replace(self._temporary, self.path)

    def _check(self, image: np.ndarray) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            given = f'{image.dtype} {list(image.shape)}'
            raise ValueError(f'A frame must be uint8 [H, W, 3] in BGR order, got {given}.')
        given = (image.shape[1], image.shape[0])
        self.size = self.size or given
        if given != tuple(self.size):
            raise ValueError(
                f'Frame {self.num_frames} is {given[0]}x{given[1]}, but {self.path.name} is '
                f'{self.size[0]}x{self.size[1]}. All frames of a video share one size.'
            )

    def _open(self) -> None:
        codec = find_codec()
        name = f'.{self.path.stem}.{secrets.token_hex(4)}.tmp{self.path.suffix}'
        self._temporary = self.path.with_name(name)
        container = _CONTAINERS[self.path.suffix.lower()]
        options = {} if container == 'matroska' else {'movflags': '+faststart'}
        self._sink = FileSink(self._temporary, self.path)
        self._container = av.open(self._sink, 'w', format=container, container_options=options)
        self._stream = _add_stream(self._container, codec, self.fps, self.size)
        self._stream.codec_context.sample_aspect_ratio = self.pixel_aspect


def _tick(fps: Fraction) -> Fraction:
    """The unit of time, in seconds: a part of a frame's duration, and below 0.1 ms where it can."""
    return Fraction(1, fps.numerator * max(1, _TICKS_PER_S // fps.numerator))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """As `writing`, and what libav says of a file that cannot be written is a `WriteError`, too."""
    try:
        with writing(path):
            yield
    except av.error.FFmpegError as error:
        raise write_error(path, error) from error


def exact_rate(fps: float | Fraction) -> Fraction:
    """The frame rate as a fraction; NTSC rates (29.97, 23.976, ...) become N * 1000/1001."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if fps != round(fps) and abs(float(ntsc) - float(fps)) < 1e-3:
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def find_codec(candidates: tuple[str, ...] = _CODECS) -> str:
    """The best video encoder of this installation; says so once when it is not H.264."""
    for name in candidates:
        try:
            av.codec.Codec(name, 'w')
        except ValueError:  # av.codec.codec.UnknownCodecError
            continue
        if '264' not in name:
            _warn_once(
                f'This PyAV has no H.264 encoder, so videos are written as {name} (larger files, '
                f'and browsers may not play them). `pip install --force-reinstall av` brings one.'
            )
        return name
    raise RuntimeError(
        f'This PyAV has none of the encoders {", ".join(candidates)}. '
        f'`pip install --force-reinstall av` brings them.'
    )


@cache
def _warn_once(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)


def _add_stream(container, codec: str, fps: Fraction, size: tuple[int, int]):
    stream = container.add_stream(codec, rate=fps)
    stream.width, stream.height = (side + side % 2 for side in size)
    stream.pix_fmt = 'yuv420p'
    context = stream.codec_context
    context.time_base = _tick(fps)
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = 1  # 16..235, as players expect
    if codec == 'libx264':
        keys = str(max(1, round(KEY_FRAME_EVERY_S * fps)))
        # without B-frames: at varying rates they make the header promise too short a video
        stream.options = {'crf': _QUALITY, 'preset': 'veryfast', 'g': keys, 'bf': '0'}
    else:  # no constant quality there: bits per second instead
        stream.bit_rate = int(0.2 * stream.width * stream.height * float(fps))
    return stream


def _pad_to_even(image: np.ndarray) -> np.ndarray:
    bottom, right = image.shape[0] % 2, image.shape[1] % 2
    if not bottom and not right:
        return image
    return cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
