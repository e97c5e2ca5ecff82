"""The memory: bounded, random, reproducible."""

import pytest
import torch

from mmdet.models.memory import MemoryBank


def bank(seed: int = 0, **settings) -> MemoryBank:
    return MemoryBank(torch.Generator().manual_seed(seed), **settings)


def numbered(start: int, count: int) -> torch.Tensor:
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].repeat(1, 2)


def values(rows: torch.Tensor) -> list[int]:
    assert torch.equal(rows[:, 0], rows[:, 1]), 'a row was torn apart'
    return rows[:, 0].long().tolist()


def test_keeps_everything_until_it_is_full():
    memory = bank(max_length=50, key_length=10)
    for start in range(0, 50, 7):
        memory.update(numbered(start, min(7, 50 - start)))
    assert sorted(values(memory.rows)) == list(range(50))


def test_reads_all_rows_while_there_are_few_and_a_subset_later():
    memory = bank(max_length=50, key_length=10)
    memory.update(numbered(0, 10))
    assert values(memory.sample()) == list(range(10))
    memory.update(numbered(10, 30))
    read = values(memory.sample())
    assert len(read) == 10
    assert len(set(read)) == 10
    assert set(read) <= set(range(40))
    assert read != values(memory.sample())


@pytest.mark.parametrize('writes', [[50, 7, 7], [30, 30], [5] * 40, [200], [0, 60, 0, 60]])
def test_never_exceeds_its_cap_and_keeps_what_was_written_last(writes):
    memory, start = bank(max_length=50, key_length=10), 0
    for count in writes:
        memory.update(numbered(start, count))
        start += count
        kept = values(memory.rows)
        assert len(kept) == len(set(kept)) == min(50, start)
        if 0 < count <= 50:
            assert set(range(start - count, start)) <= set(kept)


def test_dropped_rows_are_random():
    memory = bank(max_length=1000, key_length=10)
    memory.update(numbered(0, 1000))
    memory.update(numbered(1000, 500))
    old = [v for v in values(memory.rows) if v < 1000]
    assert len(old) == 500
    assert 200 < sum(v < 500 for v in old) < 300  # 250 expected, 8 standard deviations


def test_depends_on_its_own_generator_only():
    def history(seed):
        memory, reads = bank(seed, max_length=40, key_length=10), []
        for start in range(0, 200, 20):
            memory.update(numbered(start, 20))
            torch.rand(start)  # somebody else draws
            reads.append(values(memory.sample()))
        return reads

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_keeps_the_dtype_of_the_first_rows():
    memory = bank(max_length=20, key_length=5)
    memory.update(numbered(0, 10).bfloat16())
    memory.update(numbered(10, 30))
    assert memory.sample().dtype == torch.bfloat16


def test_errors():
    with pytest.raises(RuntimeError, match='empty'):
        bank().sample()
    with pytest.raises(ValueError, match="sampling='score'"):
        bank(sampling='score')
    with pytest.raises(ValueError, match="updating='fifo'"):
        bank(updating='fifo')
    with pytest.raises(ValueError, match='key_length=30'):
        bank(max_length=20, key_length=30)
