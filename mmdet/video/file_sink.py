"""Where libav writes to: a file that keeps the reason when the disk takes no more."""

import os
from pathlib import Path

from mmdet.core.fileio import write_error, writing


class FileSink:
    """A new file for a container; `shown` is its name in messages. libav ends the process when a
    write fails while it closes a container: a failure is kept here, and `check` raises it."""

    def __init__(self, path: Path, shown: Path) -> None:
        self.name = os.path.abspath(path)  # libav reads it again to put the index first
        self.shown = shown
        self._failure: OSError | None = None
        with writing(shown):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, 'xb+', buffering=0)

    def write(self, data: bytes) -> int:
        """All of it or, after a failure, nothing."""
        rest = memoryview(data)
        try:
            while len(rest) and self._failure is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._failure = error
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()

    def check(self) -> None:
        """Raises a WriteError, which names file and reason, if a write failed so far."""
        if self._failure is not None:
            raise write_error(self.shown, self._failure) from self._failure
