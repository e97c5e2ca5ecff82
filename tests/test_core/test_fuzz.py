"""A short pass of the fuzzer with a fixed seed; `make fuzz` has the long one, with any seed."""

import ctypes
import faulthandler
import os
import subprocess
import sys
from pathlib import Path

import fuzzing
import pytest
from fuzz_kinds import Kind, kinds

from mmdet.core.errors import ConversionError

SCRIPT = Path(fuzzing.__file__)


def test_damaged_inputs_are_refused_or_read_as_they_say(repo):
    done = subprocess.run(  # of its own, since it forks: no thread of this process may hold a lock
        [sys.executable, str(SCRIPT), '--count', '1500', '--seed', '12'],
        capture_output=True, text=True, env=os.environ | {'PYTHONPATH': str(repo)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(tuple(names()))]
    assert len(rows) == len(names()) and all(' 0 ' not in row[:40] for row in rows)


def names() -> list[str]:
    return [kind.name for kind in kinds()]


def faulty_reader(data: bytes):
    """Does with some files what a reader must not."""
    if data[0] == ord('h'):
        while True:
            pass
    if data[0] == ord('c'):
        faulthandler.disable()  # pytest's would print the stack of this crash
        ctypes.string_at(0)
    if data[0] == ord('r'):
        raise KeyError('x')
    if data[0] == ord('e'):
        raise ConversionError('x.txt holds an e')
    return data.decode().upper() if data[0] != ord('w') else 'else'


@pytest.mark.parametrize(
    ('first', 'found'),
    [
        *(('h', 'hang'), ('c', 'crash'), ('r', 'raw'), ('e', 'clear error')),
        *(('w', 'wrong'), ('a', 'equal')),
    ],
)
def test_the_fuzzer_sees_it(tmp_path, monkeypatch, first, found):
    def write(folder: Path) -> None:
        (folder / 'x.txt').write_text('good')

    def read(folder: Path):
        data = (folder / 'x.txt').read_bytes()
        return data.decode().upper() if data == b'good' else faulty_reader(data)

    kind = Kind('k', 'x.txt', write, read, says=lambda data: data.decode().upper())
    if found == 'hang':
        monkeypatch.setattr(fuzzing, 'HANG_S', 2)
    monkeypatch.setattr(fuzzing, 'flipped', lambda data, rng: first.encode() + data)
    outcomes = list(fuzzing.outcomes(kind, tmp_path / 'f', range(2), 0))
    assert [(number, outcome) for number, outcome, _ in outcomes] == [(0, found), (1, found)]
