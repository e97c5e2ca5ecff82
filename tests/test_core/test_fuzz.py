"""A short pass of the fuzzer with a fixed seed; `make fuzz` has the long one, with any seed."""

import ctypes
import faulthandler
import os
import subprocess
import sys

import fuzzing
import pytest
from fuzz_kinds import Kind, kinds


def test_damaged_inputs_are_refused_or_read_as_they_say(repo):
    command = [sys.executable, fuzzing.__file__, '--count', '600', '--seed', '12']
    # of its own, since it forks: no thread of this process may hold a lock
    environment = os.environ | {'PYTHONPATH': str(repo)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()[:-1]
    assert len(rows) == len(kinds()) and all(' 0 clear error' not in row for row in rows)


@pytest.mark.parametrize('outcome', ['hang', 'crash', 'raw', 'wrong'])
def test_the_fuzzer_sees_it(tmp_path, monkeypatch, outcome):
    def read(path):
        if outcome == 'crash':
            faulthandler.disable()  # pytest's would print the stack of this crash
            ctypes.string_at(0)
        while outcome == 'hang':
            pass
        return {}['x'] if outcome == 'raw' else 'else'

    monkeypatch.setattr(fuzzing, 'HANG_S', 1 if outcome == 'hang' else fuzzing.HANG_S)
    kind = Kind('k', 'x.txt', b'good', read, says=lambda data: 'good')
    found = [said for _, said, _ in fuzzing.outcomes(kind, tmp_path, range(2), 0)]
    assert found == [outcome] * 2
