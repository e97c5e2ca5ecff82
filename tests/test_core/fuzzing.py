"""Random and structural damage to every kind of input, and what became of it.

`python tests/test_core/fuzzing.py --count 10000 --seed 7` (or `make fuzz`) prints the summary.
A reader must give a clear error, or the value that was written; anything else is a finding.
"""

import argparse
import copy
import json
import logging
import pickle
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.errors import VFEError
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.engine.checkpoint_schema import check_resumable
from mmdet.engine.config_data import read_data_config
from mmdet.evaluation.results import read_coco_json, read_pkl

SLOW_S = 20.0  # a hang; reading takes milliseconds
OUTCOMES = ('clear error', 'accepted and equal', 'accepted otherwise', 'silently wrong')
OUTCOMES += ('raw', 'hang')
VALUES = [None, True, -1, 0, 10**9, 10**30, 1.7, float('nan'), '', 'x', [], [None], {}, {'a': 1}]


def checkpoint() -> dict:
    gen = torch.Generator().manual_seed(0)
    return {
        'meta': {'epoch': 1, 'iter': 10, 'iters_per_epoch': 10, 'seed': 3, 'saved_at': 1.5},
        'state_dict': {
            'a.weight': torch.randn(20, 30, generator=gen),
            'a.bias': torch.randn(20, generator=gen),
            'b': torch.arange(50),
        },
        'optimizer': {'state': {0: {'momentum_buffer': torch.ones(20, 30)}}, 'param_groups': [{}]},
        'message_hub': {'runtime_info': {'kept_checkpoints': ['epoch_1.pth'], 'best_score': 0.5}},
    }


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and (one == other or one != one)


# -- damage


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
    if not node:
        return value
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    return value


# -- kinds of input


class Kind:
    """One kind of input: a whole file, its reader, and how it is damaged."""

    def __init__(
        self, name: str, suffix: str, write: Callable, read: Callable, value: Any, sums: bool
    ) -> None:
        """sums: the file holds check sums, so that a changed value is a finding."""
        self.name, self.suffix, self.write, self.read = name, suffix, write, read
        self.value, self.sums = value, sums


def _save(value: Any, path: Path) -> None:
    save_checkpoint(value, path)


def _save_legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _dump_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value))


def _dump_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, 2))


def _read_results(path: Path) -> Any:
    found = read_pkl(path, 4, 3)
    return [found.image.tolist(), found.boxes.tolist(), found.score.tolist()]


def _read_coco(path: Path) -> Any:
    found = read_coco_json(path, np.arange(1, 5), (1, 2, 3))
    return [found.image.tolist(), found.boxes.tolist(), found.score.tolist()]


def _read_config(path: Path) -> Any:
    return read_data_config(path).to_dict()


def _resume(path: Path) -> Any:
    value = load_checkpoint_file(path)
    check_resumable(value, path)
    return value


def kinds() -> list[Kind]:
    rows = np.arange(20, dtype=np.float32).reshape(4, 5)
    lists = [[rows[i : i + 1] if c == i % 3 else rows[:0] for c in range(3)] for i in range(4)]
    entries = [
        {'image_id': i, 'category_id': 1, 'bbox': [1.0, 2.0, 3.0, 4.0], 'score': 0.5}
        for i in range(1, 5)
    ]
    config = {'model': {'type': 'SELSA', 'detector': {'type': 'FasterRCNN'}}, 'a': [1, {'b': 'c'}]}
    return [
        Kind('checkpoint (zip)', '.pth', _save, _resume, checkpoint(), True),
        Kind('checkpoint (old)', '.pth', _save_legacy, _resume, checkpoint(), False),
        Kind('results .pkl', '.pkl', _dump_pickle, _read_results, lists, False),
        Kind('results .json', '.json', _dump_json, _read_coco, entries, False),
        Kind('config .json', '.json', _dump_json, _read_config, config, False),
        Kind('config .yaml', '.yaml', _dump_json, _read_config, config, False),
    ]


def outcome(kind: Kind, path: Path, expected: Any) -> tuple[str, str]:
    start = time.monotonic()
    try:
        found = kind.read(path)
    except VFEError as error:
        result, note = 'clear error', str(error)
        if path.name not in note:
            result = 'raw'
    except Exception as error:
        result, note = 'raw', f'{type(error).__name__}: {error}'
    else:
        same = equal(found, expected)
        result = 'accepted and equal' if same else 'silently wrong' if kind.sums else ''
        result, note = result or 'accepted otherwise', ''
    if time.monotonic() - start > SLOW_S:
        return 'hang', note
    return result, note


def run(count: int, seed: int, folder: Path) -> tuple[dict[str, Counter], list[str]]:
    """`count` damaged files, in turn of every kind; the outcomes, and notes about findings."""
    rng = random.Random(seed)
    table, notes, all_kinds = {}, [], kinds()
    for kind in all_kinds:
        path = folder / f'whole{kind.suffix}'
        kind.write(kind.value, path)
        expected, whole = kind.read(path), path.read_bytes()
        counts = table[kind.name] = Counter()
        for number in range(count // len(all_kinds)):
            target = path.with_name(f'damaged{kind.suffix}')
            if number % 3:
                target.write_bytes(flipped(whole, rng))
                known = expected
            else:
                value = restructured(kind.value, rng)
                try:
                    kind.write(value, target)
                except (TypeError, ValueError):
                    continue
                known = value if kind.sums else expected
            result, note = outcome(kind, target, known)
            counts[result] += 1
            if result in ('silently wrong', 'raw', 'hang'):
                notes.append(f'{kind.name}, seed {seed}, number {number}: {result}: {note[:300]}')
    return table, notes


def main() -> int:
    parser = argparse.ArgumentParser(description='Damage inputs and read them.')
    parser.add_argument('--count', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10**6))
    args = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        table, notes = run(args.count, args.seed, Path(folder))
    print(f'seed {args.seed}')
    for name, counts in table.items():
        print(
            f'{name}: {sum(counts.values())} tried, '
            + ', '.join(f'{counts[o]} {o}' for o in OUTCOMES if counts[o])
        )
    print(*notes[:50], sep='\n')
    return bool(notes)


if __name__ == '__main__':
    sys.exit(main())
