"""The memory: bounded, random, reproducible; it never waits to know how many rows there are."""

from collections import Counter

import pytest
import torch
from host_waits import CountHostWaits

from mmdet.models.contexts import MemoryBank, memory_bank


def bank(seed: int = 0, **settings) -> MemoryBank:
    return MemoryBank(torch.Generator().manual_seed(seed), **settings)


def write(memory: MemoryBank, start: int, count: int, gaps: int = 1) -> None:
    """Rows numbered from `start`, each the last of `gaps` rows of which the others do not exist.

    Channels hold the number, and in layer l the number plus 10,000 l.
    """
    valid = torch.arange(gaps * count) % gaps == gaps - 1
    numbers = torch.full((gaps * count,), -1.0)
    numbers[valid] = torch.arange(start, start + count).float()
    layers = [numbers + 10_000 * layer for layer in range(memory.layers)]
    memory.write(torch.stack(layers)[..., None].repeat(1, 1, 2), valid)


def values(rows: torch.Tensor, valid: torch.Tensor | None = None) -> list[int]:
    """The numbers of one layer's rows."""
    rows = rows if valid is None else rows[valid]
    assert torch.equal(rows[:, 0], rows[:, 1]), 'a row was torn apart'
    return rows[:, 0].long().tolist()


def read(memory: MemoryBank) -> list[int]:
    rows, valid = memory.read()
    assert rows.shape[:2] == (memory.layers, len(valid)) and len(valid) <= memory.key_length
    return values(rows[0], valid)


@pytest.mark.parametrize('gaps', [1, 2])
@pytest.mark.parametrize('writes', [[50, 7, 7], [30, 30], [5] * 40, [200], [0, 60, 0, 60]])
def test_never_exceeds_its_cap_keeps_what_was_written_last_and_reads_a_part(writes, gaps):
    memory, start = bank(max_length=50, key_length=10), 0
    for count in writes:
        write(memory, start, count, gaps)
        start += count
        kept = values(memory.rows[0])
        assert len(kept) == len(set(kept)) == min(50, start) == len(memory)
        assert min(kept, default=0) >= 0
        if 0 < count <= 50:
            assert set(range(start - count, start)) <= set(kept)
        found = read(memory) if start else []
        assert len(found) == len(set(found)) == min(10, len(kept)) and set(found) <= set(kept)
    assert found != read(memory)


def test_layers_are_written_together_and_drawn_apart_and_nothing_waits():
    memory = bank(layers=3, max_length=40, key_length=10)
    with CountHostWaits() as waits:
        for start in range(0, 120, 20):
            write(memory, start, 20, gaps=2)
            rows, valid = memory.read()
    # the masks of this test, and what is copied from pinned memory, for which nobody waits
    allowed = waits.waits['lift_fresh'] + waits.waits['index_put_ by a mask']
    assert waits.total == allowed, waits.waits
    assert memory.rows.shape == (3, 40, 2) and valid.all()
    numbers = [[v - 10_000 * i for v in values(rows[i])] for i in range(3)]
    assert all(0 <= v < 120 and len(set(layer)) == 10 for layer in numbers for v in layer)
    kept = [{v - 10_000 * i for v in values(memory.rows[i])} for i in range(3)]
    assert numbers[0] != numbers[1] and kept[0] != kept[1]
    assert all(set(range(100, 120)) <= rest for rest in kept)


@pytest.mark.parametrize('full', [False, True])
def test_every_row_is_read_and_dropped_equally_often(full):
    """Of 12 rows 4 are read, of 12 rows 4 are replaced: each in a third of the trials."""
    reads, dropped, trials = Counter(), Counter(), 300
    for seed in range(trials):
        memory = bank(seed, max_length=12 if full else 30, key_length=4)
        write(memory, 0, 12, gaps=2)
        reads.update(read(memory))
        write(memory, 12, 4, gaps=2)
        dropped.update(set(range(12)) - set(values(memory.rows[0])))
    # 100 expected, a standard deviation is 8
    assert all(60 < reads[row] < 140 for row in range(12))
    assert all(60 < dropped[row] < 140 for row in range(12)) if full else not dropped


def test_banks_of_several_videos_are_as_each_alone(monkeypatch):
    """In one call, whatever they hold: a few rows, more than are read, more than fit. Their tensors
    have grown to different sizes."""
    monkeypatch.setattr(memory_bank, 'FIRST_ROOM', 8)
    settings = dict(layers=2, max_length=60, key_length=20)
    histories = [[5], [30], [60, 7], [3, 0, 90], [59]]
    together, alone = ([bank(i, **settings) for i in range(len(histories))] for _ in range(2))
    for *banks, counts in zip(together, alone, histories, strict=True):
        for start, count in enumerate(counts):
            for memory in banks:
                write(memory, 100 * start, count, gaps=2)
    for step in range(3):
        rows, valid = memory_bank.read_banks(together)
        for own, exists, other in zip(rows, valid, alone, strict=True):
            wanted, there = other.read()
            for layer in range(2):
                assert values(own[layer], exists) == values(wanted[layer], there)
        new = torch.randint(1000, 2000, (len(alone), 2, 25, 1)).float().expand(-1, -1, -1, 2)
        valid = torch.rand(len(alone), 25, generator=torch.manual_seed(step)) < 0.7
        memory_bank.write_banks(together, new, valid)
        for memory, other, *own in zip(together, alone, new, valid, strict=True):
            other.write(*own)
            assert torch.equal(memory.rows, other.rows)
