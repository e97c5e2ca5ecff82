"""Random and structural damage to inputs of every kind, and what became of it.

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
import re
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat
from typing import Any

import cv2
from fuzz_kinds import UNKNOWN, Kind, kinds

from mmdet.core.errors import VFEError

SHOWN = 5  # findings of one kind
HANG_S = 60  # reading takes milliseconds; a machine may be busy
MEMORY = 12 << 30  # of address space beyond which an input is a bomb
# equal: read as the file says, by other means than ours; no sums: read, and nothing in the file
# tells whether it is what was written
OUTCOMES = ('clear error', 'equal', 'no sums', 'wrong', 'raw', 'hang', 'crash')
FINDINGS = OUTCOMES[3:]

VALUES = [None, True, -1, 0, 10**9, 10**30, 1.7, math.nan, '', 'x', [], [None], {}, {'a': 1}]
TOKENS = [
    *(b'', b'-1', b'nan', b'1e999', b'1.7', b'1_0', b'x', b'null', b'true', b'[]', b'{}', b'"'),
    *(b'9' * 30, b'9' * 5000, b'\xff\xfe', b'\xe9t\xe9', b'\0', '\u2028'.encode(), '١'.encode()),
    *(b'[' * 100_000, b'{"a":' * 50_000, b'&a', b'*a', b'!!python/object/apply:os.getpid []'),
]


# -- damage ----------------------------------------------------------------------------------------


def damage(kind: Kind, target: Path, rng: random.Random) -> None:
    """Write a damaged file."""
    target.unlink(missing_ok=True)
    way = rng.choice(['bytes'] * 2 + ['words'] * 2 * kind.text + ['value'] * bool(kind.dump))
    if way == 'value':
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            target.write_bytes(kind.dump(restructured(kind.content, rng)))
            return
    target.write_bytes((with_other_words if way == 'words' else flipped)(kind.whole(), rng))


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bits or a stretch changed, cut out, put in, or the rest gone."""
    data, at, size = bytearray(data), rng.randrange(len(data)), rng.randrange(1, 64)
    if rng.random() < 0.4:
        for _ in range(rng.choice((1, 1, 3, 20))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        more = rng.choice((b'', rng.randbytes(size), data[rng.randrange(len(data)) :][:size]))
        data[at : at + rng.choice((0, size, len(data)))] = more
    return bytes(data)


def with_other_words(data: bytes, rng: random.Random) -> bytes:
    """A word is another one, or all is in another encoding."""
    if rng.random() < 0.05:
        return data.decode().encode(rng.choice(('utf-16', 'utf-16-le', 'utf-32', 'utf-8-sig')))
    word = rng.choice(list(re.finditer(rb'\w+|\W+', data)))
    return data[: word.start()] + rng.choice(TOKENS) + data[word.end() :]


def restructured(value: Any, rng: random.Random) -> Any:
    """A value somewhere inside is another one, or gone."""
    value = copy.deepcopy(value)
    node, inside = value, [value]
    while inside and (node is value or rng.random() < 0.6):
        node = rng.choice(inside)
        parts = node.values() if isinstance(node, dict) else node
        inside = [part for part in parts if isinstance(part, dict | list) and part]
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    return value


# -- reading ---------------------------------------------------------------------------------------


def read_damaged(kind: Kind, folder: Path, number: int, seed: int) -> tuple[str, str]:
    """Damage, read and judge one input; the outcome, and what was said."""
    target = folder / kind.file
    damage(kind, target, random.Random(f'{seed}/{kind.name}/{number}'))
    try:
        found = kind.read(target)
    except Exception as error:
        told = isinstance(error, (VFEError, FileNotFoundError)) and target.stem in str(error)
        return 'clear error' if told else 'raw', f'{type(error).__name__}: {error}'
    try:
        said = kind.says(target.read_bytes())
    except Exception as error:
        return 'wrong', f'read, but it is no such file: {type(error).__name__}: {error}'
    if said is UNKNOWN:
        return 'no sums', ''
    found, said = pformat(found), pformat(said)
    return 'equal' if found == said else 'wrong', f'read {found:.150}, says {said:.150}'


def in_child(kind: Kind, folder: Path, numbers: range, seed: int) -> None:
    """Read inputs one after another, and write a line about each. The alarm ends one that hangs."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(folder / 'outcomes', 'w') as lines:
        for number in numbers:
            signal.alarm(HANG_S)
            outcome, note = read_damaged(kind, folder, number, seed)
            print(json.dumps([number, outcome, note[:300]]), file=lines, flush=True)


def outcomes(kind: Kind, folder: Path, numbers: range, seed: int) -> Iterator[tuple[int, str, str]]:
    """(number, outcome, note) of every input; the reader starts anew after one that ended it."""
    while numbers:
        child = os.fork()
        if not child:
            try:
                in_child(kind, folder, numbers, seed)
            finally:
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        lines = (folder / 'outcomes').read_text().splitlines()
        yield from map(json.loads, lines)
        numbers = numbers[len(lines) :]
        if numbers:
            verdict = 'hang' if status == -signal.SIGALRM else 'crash'
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
        print(f'{kind.name:20}', *(f'{counts[name]:6d} {name}' for name in OUTCOMES), flush=True)
    print(f'seed {args.seed}', *notes, sep='\n')
    return bool(notes) and not one


if __name__ == '__main__':
    sys.exit(main())
