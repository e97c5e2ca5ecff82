"""How many requests an address may send."""

import time
from collections.abc import Callable

PER_SECOND = 50.0
AT_ONCE = 400.0  # a page has about a hundred files
MAX_CLIENTS = 10_000


class Rates:
    """A bucket per client that fills with time.

    Args:
        clock: seconds; tests have their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
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
