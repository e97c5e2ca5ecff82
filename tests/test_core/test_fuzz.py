"""A short pass of the fuzzer with a fixed seed; `make fuzz` has the long one, with any seed."""

import ctypes
import faulthandler
import os
import subprocess
import sys

import fuzzing
import pytest
from fuzz_kinds import Kind, kinds

from mmdet.core.errors import ConversionError


def test_damaged_inputs_are_refused_or_read_as_they_say(repo):
    command = [sys.executable, fuzzing.__file__, '--count', '1500', '--seed', '12']
    # of its own, since it forks: no thread of this process may hold a lock
    environment = os.environ | {'PYTHONPATH': str(repo)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [kind.name for kind in kinds()]
    rows = [line for line in done.stdout.splitlines() if line.startswith(tuple(names))]
    assert len(rows) == len(names) == 29 and all(' 0 ' not in row[:40] for row in rows)


@pytest.mark.parametrize(
    ('first', 'outcome'),
    [
        *(('h', 'hang'), ('c', 'crash'), ('r', 'raw')),
        *(('e', 'clear error'), ('w', 'wrong'), ('a', 'equal')),
    ],
)
def test_the_fuzzer_sees_it(tmp_path, monkeypatch, first, outcome):
    """A reader that does with some files what it must not."""

    def read(path):
        text = path.read_text()
        if text[0] == 'h':
            while True:
                pass
        if text[0] == 'c':
            faulthandler.disable()  # pytest's would print the stack of this crash
            ctypes.string_at(0)
        if text[0] == 'r':
            raise KeyError('x')
        if text[0] == 'e':
            raise ConversionError('x.txt holds an e')
        return text.upper() if text[0] != 'w' else 'else'

    kind = Kind('k', 'x.txt', 'good', read, says=lambda data: data.decode().upper())
    monkeypatch.setattr(fuzzing, 'HANG_S', 2 if outcome == 'hang' else fuzzing.HANG_S)
    for damage in ('flipped', 'with_other_words'):
        monkeypatch.setattr(fuzzing, damage, lambda data, rng: first.encode() + data)
    found = list(fuzzing.outcomes(kind, tmp_path / 'f', range(2), 0))
    assert [(number, said) for number, said, _ in found] == [(0, outcome), (1, outcome)]
