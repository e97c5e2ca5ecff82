"""Random and structural damage to every kind of input, and what became of it.

`python tests/test_core/fuzzing.py --count 10000 --seed 7` (or `make fuzz`) prints a table; `--kind`
and `--number` repeat one input of a seed. A reader must give a clear error, or what the file says.
Inputs are read in a forked process, so that one that ends or hangs it is counted and named, too.
"""

import argparse
import contextlib
import copy
import json
import logging
import math
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from fuzz_kinds import UNKNOWN, Kind, kinds

from mmdet.core.errors import VFEError
from mmdet.core.fileio import ADVICE

SHOWN = 5  # findings of one kind
HANG_S = 60  # reading takes milliseconds; a machine may be busy
MEMORY = 12 << 30  # of address space beyond which an input is a bomb
# equal: read as the file says, by other means than ours, or as it was written; no sums: read, and
# nothing in or beside the file tells whether it is what was written
OUTCOMES = ('clear error', 'equal', 'no sums', 'wrong', 'raw', 'hang', 'crash')
FINDINGS = OUTCOMES[3:]

VALUES = [None, True, -1, 0, 10**9, 10**30, 1.7, math.nan, '', 'x', [], [None], {}, {'a': 1}]
TOKENS = [
    *(b'', b'-1', b'0', b'nan', b'1e999', b'1.7', b'x', b'null', b'true', b'[]', b'{}', b'"', b"'"),
    *(b'9' * 30, b'9' * 5000, b'\xff\xfe', b'\xe9t\xe9', b'\0', '\u2028'.encode(), '١'.encode()),
    *(b'[' * 100_000, b'{"a":' * 50_000, b'&a;', b'<a>' * 50_000, b'../../x', b'\r', b'\x1a'),
    *(b'&a', b'*a', b'!!python/object/apply:os.getpid []', b'<!DOCTYPE a [<!ENTITY a "aa">]>'),
    b'1_0',
]


def equal(one: Any, other: Any) -> bool:
    pair = one, other
    if all(isinstance(part, torch.Tensor) for part in pair):
        return one.dtype == other.dtype and np.array_equal(one.numpy(), other.numpy(), True)
    if all(isinstance(part, np.ndarray) for part in pair):
        return np.array_equal(one, other)
    if all(isinstance(part, dict) for part in pair):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if all(isinstance(part, list | tuple) for part in pair):
        return len(one) == len(other) and all(map(equal, one, other))
    if {type(one), type(other)} == {int, float}:  # 3 and 3.0 are one number
        return abs(one) < 2**1000 > abs(other) and float(one) == float(other)
    return type(one) is type(other) and (one == other or (one != one and other != other))


# -- damage ----------------------------------------------------------------------------------------


def damage(kind: Kind, whole: bytes, target: Path, rng: random.Random) -> None:
    """Write a damaged file."""
    value = kind.dump and not kind.sums  # which would fit the damage again
    way = rng.choice(['bytes'] * 2 + ['words'] * 2 * kind.text + ['value'] * bool(value))
    if way == 'value':
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            target.write_bytes(kind.dump(restructured(kind.content, rng)))
            return
    target.write_bytes((with_other_words if way == 'words' else flipped)(whole, rng))


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
        data[at:at] = rng.randbytes(rng.randrange(1, 64))
    else:
        size = rng.randrange(1, 200)
        data[at : at + size] = data[rng.randrange(len(data)) :][:size]
    return bytes(data)


def with_other_words(data: bytes, rng: random.Random) -> bytes:
    """A word is another one, or all is in another encoding."""
    if rng.random() < 0.05:
        return data.decode().encode(rng.choice(('utf-16', 'utf-16-le', 'utf-32', 'utf-8-sig')))
    letters = [data[at : at + 1].isalnum() for at in range(len(data))]
    ends = [0, *(at for at in range(1, len(data)) if letters[at - 1] != letters[at]), len(data)]
    at = rng.randrange(len(ends) - 1)
    return data[: ends[at]] + rng.choice(TOKENS) + data[ends[at + 1] :]


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
    damage(kind, whole, target, rng)
    try:
        found = kind.read(target)
    except Exception as error:
        told = isinstance(error, (VFEError, FileNotFoundError)) and target.stem in str(error)
        if isinstance(error, OSError):  # a path in the file, of which commands say what is wrong
            told = told or (error.errno in ADVICE and bool(error.filename))
        return 'clear error' if told else 'raw', f'{type(error).__name__}: {error}'
    if kind.sums:
        return 'equal' if equal(found, kind.read(folder / 'whole' / kind.file)) else 'wrong', ''
    try:
        said = kind.says(target.read_bytes())
    except Exception as error:
        return 'wrong', f'read, but it is no such file: {type(error).__name__}: {error}'
    if said is UNKNOWN:
        return 'no sums', ''
    return 'equal' if equal(found, said) else 'wrong', f'read {found!r:.150}, says {said!r:.150}'


# -- all inputs ------------------------------------------------------------------------------------


def in_child(kind: Kind, folder: Path, numbers: range, seed: int, pipe: int) -> None:
    """Read inputs one after another, and write a line about each."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with os.fdopen(pipe, 'w') as lines:
        if not (folder / 'damaged').exists():
            kind.write(folder / 'whole')
            shutil.copytree(folder / 'whole', folder / 'damaged')
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
        verdict, rest = 'crash', b''
        with os.fdopen(source, 'rb', buffering=0) as pipe:
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
                    yield tuple(json.loads(line))
                numbers = numbers[len(lines) :]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if numbers:
            yield numbers.start, verdict, f'the reader ended with {status}'
            numbers = numbers[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description='Damage inputs and read them.')
    parser.add_argument('--count', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument('--kind', default='', help='only this kind, by its name in the table')
    parser.add_argument('--number', type=int, help='only this input of the kind')
    args = parser.parse_args()
    logging.disable()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    notes, one = [], args.number is not None
    chosen = [kind for kind in kinds() if args.kind in ('', kind.name)]
    share = range(args.number, args.number + 1) if one else range(args.count // len(chosen))
    for kind in chosen:
        counts = Counter()
        with tempfile.TemporaryDirectory() as folder:
            for number, outcome, note in outcomes(kind, Path(folder), share, args.seed):
                counts[outcome] += 1
                if one or (outcome in FINDINGS and counts[outcome] <= SHOWN):
                    notes.append(f'{kind.name}, number {number}: {outcome}: {note!r}')
        print(f'{kind.name:20}', *(f'{counts[name]:6d} {name}' for name in OUTCOMES))
    print(f'seed {args.seed}', *notes, sep='\n')
    return bool(notes) and not one


if __name__ == '__main__':
    sys.exit(main())
