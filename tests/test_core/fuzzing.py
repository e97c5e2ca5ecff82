"""Random and structural damage to every kind of input, and what became of it.

`python tests/test_core/fuzzing.py --count 10000 --seed 7` (or `make fuzz`) prints a table; `--kind`
and `--number` repeat one input of a seed. A reader must give a clear error, or what the file says.
Inputs are read in a forked process, so that one that ends or hangs it is counted and named, too.
"""

import argparse
import copy
import json
import logging
import math
import os
import pickle
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from fuzz_kinds import Kind, kinds

from mmdet.core.errors import VFEError
from mmdet.core.fileio import ADVICE

SHOWN = 5  # findings of one kind
HANG_S = 60  # reading takes milliseconds; a machine may be busy
MEMORY = 12 << 30  # of address space beyond which an input is a bomb
EQUAL, OTHERWISE, WRONG = 'equal', 'no sums', 'wrong'
OUTCOMES = ('clear error', EQUAL, OTHERWISE, WRONG, 'raw', 'hang', 'crash')
FINDINGS = (WRONG, 'raw', 'hang', 'crash')
EXPLAINED = """equal: read as the file says, by other means than ours, or as it was written.
no sums: read, and nothing in or beside the file tells whether it is what was written."""

VALUES = [None, True, -1, 0, 10**9, 10**30, 1.7, math.nan, '', 'x', [], [None], {}, {'a': 1}]
TOKENS = [
    b'', b'-1', b'0', b'nan', b'1e999', b'1.7', b'x', b'null', b'true', b'[]', b'{}', b'"', b"'",
    b'9' * 30, b'9' * 5000, b'\xff\xfe', b'\xe9t\xe9', b'\0', '\u2028'.encode(), '١'.encode(),
    b'[' * 100_000, b'{"a":' * 50_000, b'&a;', b'<a>' * 50_000, b'../../x', b'\r', b'\x1a', b'&a',
    b'*a', b'!!python/object/apply:os.getpid []', b'<!DOCTYPE a [<!ENTITY a "aa">]>', b'1_0',
]  # fmt: skip


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        return same and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if {type(one), type(other)} == {int, float}:  # 3 and 3.0 are one number
        return abs(one) < 2**1000 > abs(other) and float(one) == float(other)
    if type(one) is not type(other):
        return False
    return one == other or (one != one and other != other)


# -- damage ----------------------------------------------------------------------------------------


def damaged(kind: Kind, whole: bytes, target: Path, rng: random.Random) -> Any:
    """Write a damaged file; the value in it where that is known, else None."""
    ways = [
        'bytes',
        'bytes',
        *(['words', 'words'] if kind.text else []),
        *(['value'] * bool(kind.dump)),
    ]
    way = rng.choice(ways)
    if way == 'value':
        value = restructured(kind.value, rng)
        try:
            kind.dump(value, target)
            return value
        except (TypeError, ValueError, AttributeError):
            way = 'bytes'
    target.write_bytes((with_other_words if way == 'words' else flipped)(whole, rng))
    return None


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bits, bytes or stretches changed; cut, doubled, or joined with themselves."""
    data = bytearray(data)
    kind = rng.randrange(7)
    at = rng.randrange(len(data))
    if kind <= 2:
        for _ in range(rng.choice((1, 1, 3, 20))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        del data[at : at + rng.randrange(1, 64)]
    elif kind == 5:
        data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64)))
    else:
        size = rng.randrange(1, 200)
        data[at : at + size] = data[rng.randrange(len(data)) :][:size]
    return bytes(data)


def with_other_words(data: bytes, rng: random.Random) -> bytes:
    """A word is another one, or all is in another encoding."""
    if rng.random() < 0.05:
        return data.decode().encode(rng.choice(('utf-16', 'utf-16-le', 'utf-32', 'utf-8-sig')))
    ends = [0]
    for at in range(1, len(data)):
        if data[at - 1 : at].isalnum() != data[at : at + 1].isalnum():
            ends.append(at)
    at = rng.randrange(len(ends))
    end = ends[at + 1] if at + 1 < len(ends) else len(data)
    return data[: ends[at]] + rng.choice(TOKENS) + data[end:]


def restructured(value: Any, rng: random.Random) -> Any:
    """A value somewhere inside is another one, or gone."""
    value = copy.deepcopy(value)
    node, inside = value, [value]
    while inside:
        node = rng.choice(inside)
        parts = node.values() if isinstance(node, dict) else node
        inside = [part for part in parts if isinstance(part, dict | list) and part]
        if rng.random() < 0.4:
            break
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    return value


# -- one input -------------------------------------------------------------------------------------


def read_damaged(kind: Kind, folder: Path, number: int, seed: int) -> tuple[str, str]:
    """Damage, read and judge one input; the outcome, and what was said."""
    rng = random.Random(f'{seed}/{kind.name}/{number}')
    target, whole = folder / 'damaged' / kind.file, (folder / 'whole' / kind.file).read_bytes()
    target.unlink(missing_ok=True)
    known = damaged(kind, whole, target, rng)
    data = target.read_bytes()
    try:
        found = kind.read(folder / 'damaged')
    except Exception as error:
        said = f'{type(error).__name__}: {error}'
        told = isinstance(error, (VFEError, FileNotFoundError)) and target.stem in str(error)
        if isinstance(error, OSError):  # a path in the file, of which commands say what is wrong
            told = told or (error.errno in ADVICE and bool(error.filename))
        return ('clear error' if told else 'raw'), said
    return judge(kind, found, known, data, folder)


def judge(kind: Kind, found: Any, known: Any, data: bytes, folder: Path) -> tuple[str, str]:
    if kind.sums:
        if known is None:
            known = pickle.loads((folder / 'expected').read_bytes())
        return (EQUAL if equal(found, known) else WRONG), ''
    if kind.says is None:
        whole = pickle.loads((folder / 'expected').read_bytes())
        return (EQUAL if equal(found, whole) else OTHERWISE), ''
    try:
        said = kind.says(data)
    except Exception as error:
        return WRONG, f'read, but it is no such file: {type(error).__name__}: {error}'
    if type(said).__name__ == 'Unknown':
        whole = pickle.loads((folder / 'expected').read_bytes())
        return (EQUAL if equal(found, whole) else OTHERWISE), ''
    return (
        (EQUAL, '') if equal(found, said) else (WRONG, f'read {found!r:.150}, says {said!r:.150}')
    )


# -- all inputs ------------------------------------------------------------------------------------


def prepared(kind: Kind, folder: Path) -> Path:
    """A folder with the whole set, a copy to be damaged, and what the whole one reads as."""
    folder.mkdir()
    whole = folder / 'whole'
    whole.mkdir()
    kind.write(whole)
    shutil.copytree(whole, folder / 'damaged')
    (folder / 'expected').write_bytes(pickle.dumps(kind.read(whole)))
    return folder


def in_child(kind: Kind, folder: Path, numbers: range, seed: int, pipe: int) -> None:
    """Read inputs one after another, and write a line about each."""
    import resource

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with os.fdopen(pipe, 'w') as lines:
        if not (folder / 'expected').exists():
            shutil.rmtree(folder, ignore_errors=True)
            prepared(kind, folder)
        for number in numbers:
            outcome, note = read_damaged(kind, folder, number, seed)
            lines.write(json.dumps([number, outcome, note[:300]]) + '\n')
            lines.flush()


def outcomes(kind: Kind, folder: Path, numbers: range, seed: int) -> Iterator[tuple[int, str, str]]:
    """(number, outcome, note) of every input; the reader starts anew after one that ended it."""
    while numbers:
        source, sink = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(source)
                in_child(kind, folder, numbers, seed, sink)
                os._exit(0)
            except BaseException as error:
                sys.__stderr__.write(f'{error!r}')
                os._exit(1)
        os.close(sink)
        verdict = 'crash'
        with os.fdopen(source, 'rb', buffering=0) as pipe:
            rest = b''
            while True:
                if not select.select([pipe], [], [], HANG_S)[0]:
                    verdict = 'hang'
                    os.kill(child, signal.SIGKILL)
                    break
                block = pipe.read(1 << 16)
                if not block:
                    break
                *lines, rest = (rest + block).split(b'\n')
                for line in lines:
                    number, outcome, note = json.loads(line)
                    yield number, outcome, note
                    numbers = range(number + 1, numbers.stop)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if numbers:
            yield numbers.start, verdict, f'the reader ended with {status}'
            numbers = numbers[1:]


def run(
    count: int, seed: int, folder: Path, only: str = '', number: int | None = None
) -> tuple[dict[str, Counter], list[str]]:
    """`count` damaged files, in turn of every kind; the outcomes, and notes about findings."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    table, notes = {}, []
    chosen = [kind for kind in kinds() if only in ('', kind.name)]
    for i, kind in enumerate(chosen):
        share = count // len(chosen) + (i < count % len(chosen))
        numbers = range(share) if number is None else range(number, number + 1)
        counts = table[kind.name] = Counter()
        for n, outcome, note in outcomes(kind, folder / str(i), numbers, seed):
            counts[outcome] += 1
            if number is not None or (outcome in FINDINGS and counts[outcome] <= SHOWN):
                notes.append(f'{kind.name}, seed {seed}, number {n}: {outcome}: {note!r}')
    return table, notes


def print_table(table: dict[str, Counter]) -> None:
    width = max(map(len, table))
    print(' ' * width, '   tried', *(f'{name:>11}' for name in OUTCOMES))
    total = sum(table.values(), Counter())
    for name, counts in (*table.items(), ('all', total)):
        numbers = (f'{counts[outcome]:11d}' for outcome in OUTCOMES)
        print(f'{name:{width}} {sum(counts.values()):8d}', *numbers)
    print(EXPLAINED)


def main() -> int:
    parser = argparse.ArgumentParser(description='Damage inputs and read them.')
    parser.add_argument('--count', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument('--kind', default='', help='only this kind, by its name in the table')
    parser.add_argument('--number', type=int, help='only this input of the kind')
    args = parser.parse_args()
    logging.disable()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        table, notes = run(args.count, args.seed, Path(folder), args.kind, args.number)
    print_table(table)
    print(f'seed {args.seed}, {time.monotonic() - start:.0f} s')
    print(*notes, sep='\n')
    return bool(notes) and args.number is None


if __name__ == '__main__':
    sys.exit(main())
