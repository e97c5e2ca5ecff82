"""Decoding with PyAV: damage is reported and survived, any frame is found by its time.

Frames are found by their time stamps, which B-frames and variable rates leave intact, and are
counted from the packets that are there: what the header of a container says may be wrong.
"""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from mmengine.logging import print_log

from mmdet.core.errors import VideoError

TIMEOUT_S = 10  # of opening a network stream, and of each read
SILENCE_S = 3
# containers that store when each frame is shown; in others (avi) libav guesses, B-frames go wrong
WITH_TIMES = {'mov', 'matroska', 'mpegts', 'flv'}

Decoded = av.VideoFrame | av.error.FFmpegError


def is_address(path: str) -> bool:
    """Whether this names a stream; what is there as a file is a file, whatever its name."""
    return '://' in path and not os.path.exists(path)


def open_video(path: str) -> tuple[av.container.InputContainer, av.VideoStream]:
    """A file or address and its main video stream; VideoError where there is none to decode."""
    is_url = is_address(path)
    place = path if is_url else os.path.abspath(path)  # a name such as 12:30:05.mp4 is no protocol
    options = {'rtsp_transport': 'tcp'} if path.lower().startswith('rtsp') else {}
    try:
        container = av.open(
            place,
            options=options,
            metadata_errors='replace',  # titles in whatever encoding
            timeout=TIMEOUT_S if is_url else None,
        )
    except (av.error.FFmpegError, OSError) as error:
        hint = ''
        if is_url:
            hint = ' Check the address, and whether the server runs.'
        elif isinstance(error, (av.error.InvalidDataError, av.error.EOFError)):
            hint = ' It is no video, or its recording was cut off before its index was written.'
        reason = error.strerror or error
        raise VideoError(f'Cannot open {path}: {reason}.{hint}') from error
    stream = container.streams.best('video')
    if stream is None or stream.codec_context is None:  # decoding without a codec would crash
        problem = (
            'has no video stream, or its recording was cut off before its index was written'
            if stream is None
            else 'is in a format that this PyAV has no decoder for; convert it: '
            'ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4'
        )
        container.close()
        raise VideoError(f'{path} {problem}.')
    stream.thread_type = 'AUTO'
    return container, stream


def packets_of(container, stream) -> Iterator[av.Packet | av.error.FFmpegError]:
    """The packets of a stream; an error in their order ends them and comes last."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            yield error
            return


def decoded(container, stream) -> Iterator[Decoded]:
    """Frames in the order of display, with an error in the place of each damaged packet."""
    for packet in packets_of(container, stream):
        if isinstance(packet, av.error.FFmpegError):
            yield packet
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            yield error
        else:
            yield from frames


def upright(frame: av.VideoFrame) -> np.ndarray:
    """[H, W, 3] uint8 BGR, turned and mirrored as the display matrix of the file says: phones film
    sideways, front cameras store the mirror image."""
    image = _bgr(frame)
    (a, b), (c, d) = _display_matrix(frame)
    if turned(frame):  # the axes change places, then each may run backwards
        image, a, d = image.transpose(1, 0, 2), c, b
    image = image[:, ::-1] if a < 0 else image
    image = image[::-1] if d < 0 else image
    return np.ascontiguousarray(image)


class _Conversion(threading.local):
    """What libav converts colours with; with one per frame it would start its threads each time."""

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()


_conversion = _Conversion()


def _bgr(frame: av.VideoFrame) -> np.ndarray:
    return _conversion.reformatter.reformat(frame, format='bgr24').to_ndarray()


def turned(frame: av.VideoFrame) -> bool:
    """Whether rows become columns when a frame is set upright."""
    (a, b), (c, d) = _display_matrix(frame)
    return bool(abs(b) + abs(c) > abs(a) + abs(d))


def _display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """[[a, b], [c, d]]: the stored point (x, y) is shown at (a x + c y, b x + d y), y downwards, at
    the scale of the file (ISO 14496-12, 8.2.2, matrix of a track)."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return np.eye(2)
    return np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].astype(float)


def announced_seconds(stream: av.VideoStream) -> float | None:
    """How long the stream lasts by the header of its container, if that says so."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    clock = stream.metadata.get('DURATION', '').split(':')  # Matroska: 00:01:02.500000000
    try:
        hours, minutes, seconds = map(float, clock)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


@dataclass
class FrameTable:
    """Presentation times of all frames in ticks of the stream, ascending; positions of key frames
    (`keys`), and where to seek to decode from each (`seeks`)."""

    times: np.ndarray
    keys: np.ndarray
    seeks: np.ndarray

    def __len__(self) -> int:
        return len(self.times)

    def position(self, pts: int) -> int:
        return int(np.searchsorted(self.times, pts))

    def key_before(self, position: int) -> int:
        """The number of the last key frame at or before a position; -1 if there is none."""
        return int(np.searchsorted(self.keys, position, side='right')) - 1


def scan(path: str) -> FrameTable | None:
    """The table of a file by its packets, without decoding; None where times tell no order."""
    container, stream = open_video(path)
    times, keys, last_dts = [], [], None
    quiet_until = time.monotonic() + SILENCE_S
    with container:
        if container.format.name.split(',')[0] not in WITH_TIMES:
            return None
        for packet in packets_of(container, stream):
            if isinstance(packet, av.error.FFmpegError) or packet.is_discard or not packet.size:
                continue
            backwards = None not in (packet.dts, last_dts) and packet.dts < last_dts
            if packet.pts is None or backwards:  # joined streams: no order by time
                return None
            last_dts = packet.dts
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
            if time.monotonic() > quiet_until:
                quiet_until = float('inf')
                print_log(f'Counting the frames of {path}', logger='current')
    if len(set(times)) != len(times):
        return None
    times = np.sort(np.array(times, np.int64))
    keys = np.sort(np.array(keys, np.int64).reshape(-1, 2), axis=0)
    return FrameTable(times, np.searchsorted(times, keys[:, 0]), keys.min(axis=1))


class SeekingReader:
    """Any frame of a file by its position; ascending ones that are close without seeking.

    Decoding starts at the last key frame at or before the wanted one. After a seek, frames are
    used from the first one on that the decoder calls a key frame: those before it may lack what
    they refer to (open groups, gradual refresh). Without a table of times, frames are counted from
    the start.
    """

    def __init__(self, path: str, table: FrameTable | None) -> None:
        self.table, self.path = table, path
        self._container, self._stream = open_video(path)
        self._frames: Iterator[tuple[int, av.VideoFrame]] = self._numbered(after_seek=False)
        self._last: tuple[int, av.VideoFrame] | None = None

    def read(self, position: int) -> av.VideoFrame:
        """The frame; where it is lost to damage, one beside it, or else a VideoError."""
        near = None
        for key in self._starts(position):
            if key is not None:
                self._start_at(key)
            near = self._advance(position) or near
            if near is not None and near[0] <= position:
                break
        if near is None:
            raise VideoError(f'Frame {position} of {self.path} cannot be decoded.')
        return near[1]

    def _starts(self, position: int) -> Iterator[int | None]:
        """Where to decode from, best first: None to go on, the number of a key frame, -1: start."""
        key = self.table.key_before(position) if self.table else -1
        if self._last is None:
            at = 0 if key <= 0 else None
        else:
            at = self._last[0] if self._last[0] <= position else None
        if at is not None and (key < 0 or self.table.keys[key] <= at):
            yield None
        yield from range(key, max(key - 2, -1), -1)
        yield -1

    def _start_at(self, key: int) -> None:
        self._last = None
        if key >= 0:
            self._container.seek(int(self.table.seeks[key]), stream=self._stream)
        else:
            self._container.close()
            self._container, self._stream = open_video(self.path)
        self._frames = self._numbered(after_seek=key >= 0)

    def _numbered(self, after_seek: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        usable, count = not after_seek, 0
        for frame in decoded(self._container, self._stream):
            if isinstance(frame, av.error.FFmpegError):
                continue
            usable = usable or bool(frame.key_frame)
            if usable:
                timed = self.table is not None and frame.pts is not None
                yield (self.table.position(frame.pts) if timed else count), frame
            count += 1

    def _advance(self, position: int) -> tuple[int, av.VideoFrame] | None:
        """Decode up to a position; the frame there, else the next one, else the last one."""
        while self._last is None or self._last[0] < position:
            following = next(self._frames, None)
            if following is None:
                break
            self._last = following
        return self._last

    def close(self) -> None:
        self._frames = iter(())
        self._container.close()
