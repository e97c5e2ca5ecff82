"""A short pass of the fuzzer with a fixed seed; `make fuzz` has the long one, with any seed."""

from fuzzing import kinds, run


def test_damaged_inputs_are_refused_or_read_as_written(tmp_path):
    table, notes = run(1200, 12, tmp_path)
    assert notes == []
    assert set(table) == {kind.name for kind in kinds()}
    for name, counts in table.items():
        assert sum(counts.values()) >= 150 and counts['clear error'] > 50, name
