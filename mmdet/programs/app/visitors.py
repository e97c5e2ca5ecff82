"""Who visits the page, how often, and what belongs to whom: uploads, runs, sessions of gradio."""

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
MAX_RUNS = 16  # of one visitor; the oldest is removed for a new one
PER_SECOND = 50.0  # requests of one address
AT_ONCE = 400.0  # a page has about a hundred files
MAX_CLIENTS = 10_000

Clock = Callable[[], float]  # seconds; tests have their own


class Rates:
    """How many requests an address may send: a bucket per client that fills with time."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when it was so

    def allow(self, client: str) -> bool:
        """Whether one more request of the client is answered."""
        now = self._clock()
        left, before = self._buckets.pop(client, (AT_ONCE, now))
        left = min(left + (now - before) * PER_SECOND, AT_ONCE)
        if len(self._buckets) >= MAX_CLIENTS:
            self._buckets.pop(next(iter(self._buckets)))  # the one that was silent longest
        self._buckets[client] = (max(left - 1, 0.0), now)
        return left >= 1


@dataclass
class Visitor:
    """One browser, known by a cookie.

    Attributes:
        seen: time of the last request.
        uploads: files, and their sizes in bytes.
        runs: result folders, and what removes them; the oldest first.
        sessions: of gradio.
        pages: open pages.
        left: when the last page was closed, None while one is open or none ever was.
    """

    token: str
    seen: float
    uploads: dict[Path, int] = field(default_factory=dict)
    runs: dict[Path, Callable[[], None]] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    pages: int = 0
    left: float | None = None

    def is_gone(self, now: float) -> bool:
        if self.pages:
            return False
        return now - self.left > GRACE_S if self.left is not None else now - self.seen > IDLE_S


class Visitors:
    """All visitors of the page; safe to use from several threads. `uploads` is a folder."""

    def __init__(self, uploads: Path, clock: Clock = time.monotonic) -> None:
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
        path = path.resolve()
        with self._lock:
            if path.is_relative_to(self.uploads.resolve()) and path.is_file():
                visitor.uploads[path] = path.stat().st_size

    def owns_upload(self, visitor: Visitor, name: object) -> bool:
        """Whether a path, links resolved, is a file that this visitor uploaded."""
        path = _resolved(name)
        with self._lock:
            return path in visitor.uploads and path.is_relative_to(self.uploads.resolve())

    def owns_file(self, visitor: Visitor, name: object) -> bool:
        """Whether a path is such an upload, or a result of a run of this visitor."""
        path = _resolved(name)
        with self._lock:
            in_run = path is not None and path.parent in visitor.runs
            return in_run or self.owns_upload(visitor, name)

    def add_run(self, visitor: Visitor, folder: Path, remove: Callable[[], None]) -> None:
        with self._lock:
            visitor.runs[folder.resolve()] = remove
            removed = [visitor.runs.pop(old) for old in list(visitor.runs)[:-MAX_RUNS]]
        for remove in removed:
            remove()

    def drop_run(self, visitor: Visitor, folder: Path) -> None:
        with self._lock:
            remove = visitor.runs.pop(folder.resolve(), lambda: None)
        remove()

    # -- coming and going --------------------------------------------------------------------------

    def page_opened(self, visitor: Visitor) -> None:
        with self._lock:
            visitor.pages, visitor.left = visitor.pages + 1, None

    def page_closed(self, visitor: Visitor) -> None:
        with self._lock:
            visitor.pages -= 1
            visitor.left = self._clock() if visitor.pages == 0 else None

    def sweep(self, everyone: bool = False) -> None:
        """Remove what belongs to visitors who are gone."""
        now = self._clock()
        with self._lock:
            gone = [v for v in self._visitors.values() if everyone or v.is_gone(now)]
            for visitor in gone:
                del self._visitors[visitor.token]
                for session in visitor.sessions:
                    self._sessions.pop(session, None)
            kept = {path for v in self._visitors.values() for path in v.uploads}
            # gradio names uploads by their content: two visitors may have the same file
            unwanted = [path for v in gone for path in v.uploads if path not in kept]
        for remove in [remove for visitor in gone for remove in visitor.runs.values()]:
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
        """Everyone leaves; ends when their runs have ended."""
        self._end.set()
        self.sweep(everyone=True)


def _resolved(name: object) -> Path | None:
    if not isinstance(name, str):
        return None
    try:
        return Path(name).resolve()
    except (ValueError, RuntimeError, OSError):
        return None
