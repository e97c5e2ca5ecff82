"""Items made ahead of their use, by a thread that never outlives its reader."""

import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar('T')

JOIN_S = 5  # a source that blocks for longer (a dead camera) is left to its daemon thread


class Prefetcher(Generic[T]):
    """Iterates over `items` in a thread, at most `depth` items ahead of the reader.

    The thread starts with the first item asked for. It ends, and closes `items` itself, when the
    items end, when `close` is called, or when the prefetcher is no longer referenced. An error
    among the items is raised in the reader, after the items before it.

    Args:
        items: a generator; must not reference the prefetcher.
        depth: items that wait at most; the thread holds one more.
        drop_oldest: never wait for the reader, forget the oldest waiting item instead.
    """

    def __init__(
        self, items: Generator[T, None, None], depth: int, drop_oldest: bool = False
    ) -> None:
        self._items = items
        self._channel: _Channel[T] = _Channel(depth, drop_oldest)
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._thread is None:
            self._thread = threading.Thread(
                target=_fill, args=(self._channel, self._items), name='prefetch', daemon=True
            )
            self._thread.start()
        return self._channel.get()

    @property
    def started(self) -> bool:
        return self._thread is not None

    def close(self) -> bool:
        """Stop. True if the thread has ended, so that nothing touches the items any more."""
        self._channel.close()
        if self._thread is None:
            self._items.close()
            return True
        if self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)
        return not self._thread.is_alive()

    def __del__(self) -> None:
        self.close()


class _Channel(Generic[T]):
    """A bounded queue that either side may close."""

    def __init__(self, depth: int, drop_oldest: bool) -> None:
        self.depth, self.drop_oldest = depth, drop_oldest
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """False when nobody reads any more."""
        with self._changed:
            if self.drop_oldest and len(self._waiting) >= self.depth:
                self._waiting.popleft()
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self.depth)
            if self._closed:
                return False
            self._waiting.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._closed)
            if self._waiting and not self._closed:
                item = self._waiting.popleft()
                self._changed.notify_all()
                return item
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()


def _fill(channel: _Channel[T], items: Generator[T, None, None]) -> None:
    """What the thread runs; knows nothing of the prefetcher, which can thus be collected."""
    error = None
    try:
        for item in items:
            if not channel.put(item):
                break
        items.close()
    except BaseException as caught:  # also a KeyboardInterrupt that a user's iterator raises
        error = caught
    channel.end(error)
