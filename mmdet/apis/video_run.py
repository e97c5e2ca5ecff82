"""Running a detector over one video into files, with progress, until its end or Ctrl-C."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

import cv2

from mmdet.apis.video_detector import FrameResult, VideoStream
from mmdet.apis.video_outputs import (
    CocoWriter,
    CsvWriter,
    DrawnVideoWriter,
    JsonLinesWriter,
    MotWriter,
    ResultWriter,
    drawn,
)
from mmdet.core.errors import VideoError
from mmdet.core.fileio import check_writable
from mmdet.core.progress import FrameProgress

WRITERS: dict[str, type[ResultWriter]] = {
    'out': DrawnVideoWriter,
    'json': JsonLinesWriter,
    'coco': CocoWriter,
    'mot': MotWriter,
    'csv': CsvWriter,
}


class ResultFiles(AbstractContextManager):
    """The outputs of one run, which hold the same frames at any time it may end.

    Args:
        stream: of a `VideoDetector`.
        outputs: path by kind, a key of `WRITERS`; each is tried before the first frame.

    Attributes:
        frames: written so far.
    """

    def __init__(self, stream: VideoStream, outputs: Mapping[str, str | os.PathLike]) -> None:
        classes = stream.detector.classes
        for path in outputs.values():
            check_writable(path)
        self._writers = [WRITERS[kind](path, stream, classes) for kind, path in outputs.items()]
        self._open = ExitStack()
        self.frames = 0

    def __enter__(self) -> 'ResultFiles':
        with ExitStack() as opened:
            for writer in self._writers:
                opened.enter_context(writer)
            self._open = opened.pop_all()
        return self

    def write(self, result: FrameResult) -> None:
        """Append one frame to every file."""
        for writer in self._writers:
            writer.write(result)
        self.frames += 1

    def __exit__(self, *exception) -> None:
        self._open.__exit__(*exception)


class RunSummary(NamedTuple):
    """`frames` results were written; `stopped` by Ctrl-C or a closed window, not by the end."""

    frames: int
    stopped: bool


def run_video(stream: VideoStream, outputs: Mapping[str, str], show: bool = False) -> RunSummary:
    """Write the results of a stream to files as they come.

    SIGINT and SIGTERM end the run between two frames: all files then hold the same frames.

    Args:
        stream: of a `VideoDetector`.
        outputs: path by kind, a key of `WRITERS`.
        show: also in a window, which q or Esc closes.

    Raises:
        VideoError: the source gives no frame, a frame cannot be written, there are no windows.
        OSError: a file cannot be written.
    """
    files = ResultFiles(stream, outputs)
    window = _Window(stream) if show else None
    with stream, StopSignals() as signals:
        try:
            with files, FrameProgress(stream.num_frames, 'Detecting') as bar:
                for result in stream:
                    with signals.held():
                        files.write(result)
                        bar.advance(1)
                    if window is not None and not window.show(result):
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            return RunSummary(files.frames, stopped=True)
    return RunSummary(files.frames, stopped=False)


class StopSignals:
    """SIGINT and SIGTERM raise KeyboardInterrupt, but only between the pieces of work in `held`.

    A second signal while one waits raises at once. Works in the main thread only.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> 'StopSignals':
        self._held = self._waiting = False
        self._before = {number: signal.signal(number, self._on_signal) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """No signal interrupts this block; one that came is raised at its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: object) -> None:
        if not self._held or self._waiting:
            raise KeyboardInterrupt
        self._waiting = True


class _Window:
    """Shows frames with OpenCV."""

    def __init__(self, stream: VideoStream) -> None:
        self.source, self.classes = stream.source, stream.detector.classes
        self.title = self.source.name
        try:
            cv2.namedWindow(self.title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise VideoError(
                'No window can be opened: there is no display, or this is the headless OpenCV '
                '(`pip uninstall opencv-python-headless`, `pip install opencv-python` brings '
                'windows). Write a video with --out instead.'
            ) from error

    def show(self, result: FrameResult) -> bool:
        """False once the user wants to stop."""
        image = drawn(result, self.classes)
        if (aspect := self.source.pixel_aspect) != 1:  # windows have square pixels
            sides = max(aspect, 1), max(1 / aspect, 1)
            image = cv2.resize(image, None, fx=float(sides[0]), fy=float(sides[1]))
        cv2.imshow(self.title, image)
        return cv2.waitKey(1) & 0xFF not in (ord('q'), 27)
