"""Who visits the page, and what belongs to whom: uploads, runs, and the sessions of gradio."""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.logging import MMLogger

GRACE_S = 60.0  # a reloaded page, or a connection that broke for a moment, is not a visitor gone
IDLE_S = 600.0  # without a page that is open, as scripts are
SWEEP_S = 5.0
MAX_VISITORS = 2000
MAX_BYTES = 4 << 30  # uploads of one visitor at a time


@dataclass
class Visitor:
    """One browser, known by a cookie.

    Attributes:
        uploads: files, and their sizes in bytes.
        runs: names of result folders, and what removes them.
        pages: open pages.
        seen: of the last request, on the clock of `time.monotonic`.
    """

    token: str
    seen: float
    uploads: dict[Path, int] = field(default_factory=dict)
    runs: dict[str, Callable[[], None]] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    pages: int = 0
    left: float | None = None


class Visitors:
    """All visitors of the page; safe to use from several threads.

    Args:
        uploads: folder of all uploads.
        clock: seconds; tests have their own.
    """

    def __init__(self, uploads: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.uploads, self._clock = uploads, clock
        self._visitors: dict[str, Visitor] = {}
        self._sessions: dict[str, str] = {}  # of gradio, and the token of their visitor
        self._lock = threading.RLock()
        self._end = threading.Event()

    def arrive(self) -> Visitor | None:
        """A new visitor, or None while there are too many."""
        with self._lock:
            if len(self._visitors) >= MAX_VISITORS:
                return None
            visitor = Visitor(secrets.token_urlsafe(32), self._clock())
            self._visitors[visitor.token] = visitor
            return visitor

    def known(self, token: str | None) -> Visitor | None:
        """The visitor with this cookie."""
        with self._lock:
            visitor = self._visitors.get(token or '')
            if visitor is not None:
                visitor.seen = self._clock()
            return visitor

    def claim(self, visitor: Visitor, session: object) -> bool:
        """Whether a session of gradio is the visitor's; the first one who names it has it."""
        if not isinstance(session, str) or not 0 < len(session) <= 64:
            return False
        with self._lock:
            owner = self._sessions.setdefault(session, visitor.token)
            if owner == visitor.token:
                visitor.sessions.add(session)
            return owner == visitor.token

    def room(self, visitor: Visitor) -> int:
        """Bytes that the visitor may still upload."""
        with self._lock:
            return max(MAX_BYTES - sum(visitor.uploads.values()), 0)

    def add_upload(self, visitor: Visitor, path: Path) -> None:
        with self._lock:
            path = path.resolve()
            if path.is_relative_to(self.uploads.resolve()) and path.is_file():
                visitor.uploads[path] = path.stat().st_size

    def owns_upload(self, visitor: Visitor, name: object) -> bool:
        """Whether a path, links resolved, is a file that this visitor uploaded."""
        if not isinstance(name, str):
            return False
        try:
            path = Path(name).resolve()
        except (ValueError, RuntimeError, OSError):
            return False
        with self._lock:
            return path in visitor.uploads and path.is_relative_to(self.uploads.resolve())

    def add_run(self, visitor: Visitor, name: str, remove: Callable[[], None]) -> None:
        with self._lock:
            visitor.runs[name] = remove

    def drop_run(self, visitor: Visitor, name: str) -> None:
        with self._lock:
            visitor.runs.pop(name, None)

    def owns_run(self, visitor: Visitor, name: str) -> bool:
        with self._lock:
            return name in visitor.runs

    # -- coming and going --------------------------------------------------------------------------

    def page_opened(self, visitor: Visitor) -> None:
        with self._lock:
            visitor.pages, visitor.left = visitor.pages + 1, None

    def page_closed(self, visitor: Visitor) -> None:
        with self._lock:
            visitor.pages -= 1
            visitor.left = self._clock() if visitor.pages == 0 else None

    def sweep(self) -> None:
        """Remove what belongs to visitors who are gone."""
        now = self._clock()
        with self._lock:
            gone = [v for v in self._visitors.values() if _is_gone(v, now)]
            for visitor in gone:
                del self._visitors[visitor.token]
                for session in visitor.sessions:
                    self._sessions.pop(session, None)
            kept = {path for v in self._visitors.values() for path in v.uploads}
            # gradio names uploads by their content: two visitors may have the same file
            unwanted = [path for v in gone for path in v.uploads if path not in kept]
        for visitor in gone:
            for remove in visitor.runs.values():
                remove()
        for path in unwanted:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()

    def start_sweeping(self) -> None:
        threading.Thread(target=self._sweep_on, name='visitors', daemon=True).start()

    def _sweep_on(self) -> None:
        while not self._end.wait(SWEEP_S):
            try:
                self.sweep()
            except Exception:  # one file that cannot be removed must not keep all others
                MMLogger.get_current_instance().exception('Removing what visitors left')

    def close(self) -> None:
        self._end.set()


def _is_gone(visitor: Visitor, now: float) -> bool:
    if visitor.pages:
        return False
    if visitor.left is not None:
        return now - visitor.left > GRACE_S
    return now - visitor.seen > IDLE_S
