"""Detecting on one uploaded video, in a thread that others watch and stop."""

import copy
import os
import re
import shutil
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import MMLogger

from mmdet.apis.video_detector import FrameResult, VideoDetector
from mmdet.apis.video_run import ResultFiles
from mmdet.core.errors import VideoError


class Progress(NamedTuple):
    """`done` frames of `total` (as the file announces; None: unknown) after `seconds`."""

    done: int = 0
    total: int | None = None
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Frames per second; 0 before the first frame."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """None while nobody can tell."""
        if not self.done or self.total is None:
            return None
        return max(self.total - self.done, 0) / self.rate


class Run:
    """One video through a detector into two files.

    A thread of its own, so that the page learns of a closed tab while a slow model works.

    Args:
        detector: its model is shared with other runs, which must not run at the same time.
        source: the video.
        folder: for the files; made with the first frame.
        score_thr, causal: as of the detector and its streams.

    Attributes:
        video, lines: the mp4 with boxes and the JSON lines, of the same frames; see `has_files`.
        progress: so far.
        pixel_aspect: width by height of a pixel of the video as it is to be shown.
        latest: the newest result, None before the first one.
        stopping, stopped: somebody wants it to end, and has ended it, before the end of the video.
        error: a sentence that says why it broke off, or None.
        broken: a sentence that says where the video is damaged, or None.
    """

    def __init__(
        self, detector: VideoDetector, source: Path, folder: Path, score_thr: float, causal: bool
    ) -> None:
        self._detector = copy.copy(detector)
        self._detector.score_thr = score_thr
        self.source, self.folder, self.causal = source, folder, causal
        stem = re.sub(r'\W+', '_', source.stem).strip('_')[:60] or 'video'
        self.video = folder / f'{stem}_detections.mp4'
        self.lines = folder / f'{stem}_detections.jsonl'
        self.classes = detector.classes
        self.pixel_aspect = Fraction(1)
        self.progress = Progress()
        self.latest: FrameResult | None = None
        self.stopping = self.stopped = False
        self.error: str | None = None
        self.broken: str | None = None
        self._thread = threading.Thread(target=self._work, name='detect')

    @property
    def has_files(self) -> bool:
        """A finished run left both files: some frame was done, and the disk took it."""
        return self.video.exists() and self.lines.exists()

    @property
    def started(self) -> bool:
        return self._thread.ident is not None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the frame that is being worked on; what was done stays and is valid."""
        self.stopping = True

    def wait(self, seconds: float | None = None) -> bool:
        """True as soon as the run is finished, False after `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def remove(self) -> None:
        """Stop, wait for the end, and remove the files."""
        self.stop()
        if self.started:
            self.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _work(self) -> None:
        """Run to the end; errors become sentences in `error`."""
        try:
            self._detect()
        except (VideoError, OSError) as error:
            # the page knows the file by its name, not by where the upload lies
            text = str(error).replace(str(self.source), self.source.name)
            self.error = text.replace(f'{self.folder}{os.sep}', '')
        except Exception as error:  # the page must go on, whatever happened to one video
            MMLogger.get_current_instance().exception('Detecting on %s', self.source.name)
            self.error = f'{type(error).__name__}: {error} (the terminal shows more).'

    def _detect(self) -> None:
        if self.stopping:
            self.stopped = True
            return
        with self._detector.stream(self.source, causal=self.causal) as stream:
            with ResultFiles(stream, {'out': self.video, 'json': self.lines}) as files:
                start = time.monotonic()
                for result in stream:
                    files.write(result)
                    seconds = time.monotonic() - start
                    self.progress = Progress(files.frames, stream.num_frames, seconds)
                    self.pixel_aspect = stream.source.pixel_aspect
                    self.latest = result
                    if self.stopping:
                        self.stopped = True
                        break
            self.broken = stream.broken
