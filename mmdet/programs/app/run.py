"""Detecting on uploaded videos, one after the other, in a thread that others watch and stop."""

import copy
import os
import re
import secrets
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import MMLogger

from mmdet.apis.video_detector import FrameResult, VideoDetector
from mmdet.apis.video_run import ResultFiles
from mmdet.core.errors import BusyError, VideoError

MAX_WAITING = 20


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
    """One video through a detector into two files; `RunQueue.submit` makes and starts it.

    Attributes:
        video, lines: the mp4 with boxes and the JSON lines, of the same frames; see `has_files`.
        progress: so far.
        pixel_aspect: width by height of a pixel of the video as it is to be shown.
        latest: the newest result, None before the first one.
        stopped: somebody ended it before the end of the video.
        error: a sentence that says why it broke off, or None.
        broken: a sentence that says where the video is damaged, or None.
    """

    def __init__(
        self, detector: VideoDetector, source: Path, folder: Path, score_thr: float, causal: bool
    ) -> None:
        self._detector = copy.copy(detector)  # the model is shared, the threshold is not
        self._detector.score_thr = score_thr
        self.source, self.folder, self.causal = source, folder, causal
        stem = re.sub(r'\W+', '_', source.stem).strip('_')[:60] or 'video'
        self.video = folder / f'{stem}_detections.mp4'
        self.lines = folder / f'{stem}_detections.jsonl'
        self.classes = detector.classes
        self.pixel_aspect = Fraction(1)
        self.progress = Progress()
        self.latest: FrameResult | None = None
        self.stopped = False
        self.error: str | None = None
        self.broken: str | None = None
        self._stop, self._end = threading.Event(), threading.Event()

    @property
    def finished(self) -> bool:
        return self._end.is_set()

    @property
    def has_files(self) -> bool:
        """A finished run left both files: some frame was done, and the disk took it."""
        return self.video.exists() and self.lines.exists()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """End after the frame that is being worked on; what was done stays and is valid."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """True as soon as the run is finished, False after `seconds`."""
        return self._end.wait(seconds)

    def work(self) -> None:
        """Run to the end; errors become sentences in `error`."""
        try:
            self._detect()
        except (VideoError, OSError) as error:
            # the page knows the file by its name, not by where the upload lies
            text = str(error).replace(str(self.source), self.source.name)
            self.error = text.replace(f'{self.folder}{os.sep}', '')
        except Exception as error:  # the queue must go on, whatever happened to one video
            MMLogger.get_current_instance().exception('Detecting on %s', self.source.name)
            self.error = f'{type(error).__name__}: {error} (the terminal shows more).'
        finally:
            self._end.set()

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


class RunQueue:
    """Works on one run at a time, in the order of submission.

    Args:
        detector: of all runs. Each has its own score threshold and its own state of the video.
        folder: gets a folder per run, with a name that cannot be guessed.
    """

    def __init__(self, detector: VideoDetector, folder: Path) -> None:
        self.detector, self.folder = detector, folder
        self._pool = ThreadPoolExecutor(1, 'detect')
        self._runs: list[Run] = []  # that are not finished, in order
        self._lock = threading.Lock()

    def submit(self, source: Path, score_thr: float, causal: bool) -> Run:
        """Start a run as soon as those before it are finished.

        Raises:
            BusyError: too many are waiting.
        """
        folder = self.folder / secrets.token_urlsafe(16)
        run = Run(self.detector, source, folder, score_thr, causal)
        with self._lock:
            if len(self._runs) >= MAX_WAITING:
                raise BusyError(f'{len(self._runs)} videos are waiting: try again later.')
            self._runs.append(run)
        self._pool.submit(self._work, run)
        return run

    def _work(self, run: Run) -> None:
        run.work()
        with self._lock:
            self._runs.remove(run)

    def ahead(self, run: Run) -> int:
        """How many runs must finish before this one starts."""
        with self._lock:
            return self._runs.index(run) if run in self._runs else 0

    def discard(self, run: Run) -> None:
        """Stop a run that nobody wants any more, and remove its files."""
        run.stop()
        self._pool.submit(shutil.rmtree, run.folder, ignore_errors=True)

    def close(self) -> None:
        """Stop all runs and wait until their files are closed."""
        with self._lock:
            for run in self._runs:
                run.stop()
        self._pool.shutdown()
