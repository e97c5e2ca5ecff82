"""What every source of frames has in common."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

DEFAULT_FPS = 25  # of what has no rate of its own; that of ImageNet VID
MAX_GAP_S = 10  # between frames of a broadcast; more is a clock that was set
_FAULTS_TOLD = 2


class SourceFrame(NamedTuple):
    """One frame: its number in the source, seconds since the first one, [H, W, 3] uint8 BGR."""

    index: int
    timestamp_s: float
    image: np.ndarray


class Clock:
    """Seconds since the first frame, which always rise.

    In streams that were joined or cut, and after a restart of a camera, time stamps run backwards
    or (`jumps`) leave a long gap: the next frame then comes one frame (`step_s`) after the last.
    """

    def __init__(self, step_s: float, jumps: bool) -> None:
        self.step_s, self.jumps = step_s, jumps
        self._start: float | None = None
        self._last = 0.0

    def seconds(self, time: float) -> float:
        if self._start is None:
            self._start = time
            return 0.0
        gap = time - self._start - self._last
        if gap <= 0 or (self.jumps and gap > MAX_GAP_S):
            self._start = time - self._last - self.step_s
        self._last = time - self._start
        return self._last


class FrameSource:
    """Frames in order and, if `offline`, any of them by its index.

    Subclasses implement `frames` and, if offline, `count` and `read`. One thread at a time uses a
    source. Frames that are lost to damage are noted and left out.

    Args:
        offline: all frames are there and `read` gives any of them.

    Attributes:
        fps: frames per second, if known.
        num_frames: as announced; None where nobody knows. `count` is exact.
        live: frames come whether or not somebody takes them.
        pixel_aspect: width by height of a pixel as it is to be shown; known with the first frame.
    """

    fps: float | Fraction | None = None
    num_frames: int | None = None
    live = False
    pixel_aspect = Fraction(1)

    def __init__(self, name: str, offline: bool) -> None:
        self.name, self.offline = name, offline
        self._faults: list[str] = []
        self._num_faults = 0

    def frames(self, stride: int = 1) -> Iterator[SourceFrame]:
        """Every `stride`-th frame, once."""
        raise NotImplementedError

    def count(self) -> int:
        """The exact number of frames."""
        raise NotImplementedError

    def read(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 BGR of one frame."""
        raise NotImplementedError

    def frame_name(self, index: int) -> str:
        """A file name for a frame: that of its image, where there is one."""
        return f'{index:06d}.jpg'

    def close(self) -> None:
        """Release files and devices; may be called twice."""

    def note_fault(self, what: str) -> None:
        """Remember damage, as the rest of a sentence that begins with the source's name."""
        self._num_faults += 1
        if len(self._faults) < _FAULTS_TOLD:
            self._faults.append(what)

    @property
    def broken(self) -> str | None:
        """What is damaged and where; None if nothing was seen to be, so far."""
        if not self._faults:
            return None
        more = self._num_faults - len(self._faults)
        return f'{self.name} {", and ".join(self._faults)}' + (f' ({more} more)' if more else '')
