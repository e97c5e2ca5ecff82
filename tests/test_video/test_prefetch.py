"""Reading ahead: order, depth, errors, and that no thread outlives its reader."""

import gc
import time

import pytest
from tiny_streams import alive

from mmdet.video.prefetch import Prefetcher


def wait_until(condition, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


class Counting:
    """Makes numbers, and notes how far it came and that it was closed."""

    made, closed = 0, False

    def run(self, total: int):
        try:
            while self.made < total:
                self.made += 1
                yield self.made - 1
        finally:
            self.closed = True


def test_prefetch_keeps_the_order_and_its_depth_and_raises_after_the_last_item():
    def failing():
        yield from numbers.run(100)
        raise OSError('gone')

    numbers = Counting()
    ahead = Prefetcher(failing(), depth=3)
    assert numbers.made == 0  # nothing is read before the first item is asked for
    assert next(ahead) == 0
    assert wait_until(lambda: numbers.made == 5)
    time.sleep(0.05)
    assert numbers.made == 5  # one taken, three waiting, one in the thread's hand
    assert [next(ahead) for _ in range(99)] == list(range(1, 100)) and numbers.closed
    with pytest.raises(OSError, match='gone'):
        next(ahead)
    assert list(ahead) == [] and wait_until(lambda: alive() == 0)


@pytest.mark.parametrize('forget', [False, True])
def test_prefetch_ends_when_it_is_closed_or_forgotten(forget):
    numbers = Counting()
    ahead = Prefetcher(numbers.run(10**9), depth=2)
    assert [next(ahead) for _ in range(4)] == [0, 1, 2, 3] and alive() == 1
    if forget:
        del ahead
        gc.collect()
    else:
        assert ahead.close() and list(ahead) == []
    assert alive() == 0 and numbers.closed


def test_prefetch_may_drop_what_is_late():
    numbers = Counting()
    newest = Prefetcher(numbers.run(50), depth=1, drop_oldest=True)
    first = next(newest)
    assert wait_until(lambda: alive() == 0)
    assert [first, *newest][-1] == 49
