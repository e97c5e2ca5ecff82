"""What a checkpoint must hold before training goes on from it: checked before anything is used."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mmdet.core.errors import CheckpointError

MAX_EPOCHS = 100_000
MAX_ITERATIONS = 10**10
KEPT_NAME = re.compile(r'(epoch|iter)_[0-9]{1,12}\.pth')  # what the checkpoint hook may delete
RUN_ID = re.compile(r'[0-9a-f]{16}')

Rule = tuple[str, Callable[[Any], bool]]


def _count(most: int) -> Rule:
    return f'a whole number from 0 to {most}', lambda v: type(v) is int and 0 <= v <= most


def _tensor(dtype: torch.dtype, numbers: int | None = None) -> Rule:
    size = f' of {numbers} numbers' if numbers else ''
    return (
        f'a {str(dtype).removeprefix("torch.")} tensor{size}',
        lambda v: isinstance(v, Tensor) and v.dtype == dtype and numbers in (None, v.numel()),
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


NUMBER: Rule = ('a number', _is_number)
OPTIONAL_NUMBER: Rule = ('a number or None', lambda v: v is None or _is_number(v))
DICT: Rule = ('a dict', lambda v: isinstance(v, Mapping))
DICTS: Rule = (
    'a list of dicts',
    lambda v: isinstance(v, list) and all(isinstance(entry, Mapping) for entry in v),
)
NAMES: Rule = (
    'a list of names such as epoch_3.pth',
    lambda v: isinstance(v, list) and all(isinstance(n, str) and KEPT_NAME.fullmatch(n) for n in v),
)
TEXT: Rule = ('a text', lambda v: isinstance(v, str))

META = {
    'epoch': _count(MAX_EPOCHS),
    'iter': _count(MAX_ITERATIONS),
    'iters_per_epoch': ('a whole number of 1 or more', lambda v: type(v) is int and v >= 1),
    'seed': ('a whole number', lambda v: type(v) is int and abs(v) < 2**63),
    'saved_at': NUMBER,
}
INFO = {
    'kept_checkpoints': NAMES,
    'best_score': OPTIONAL_NUMBER,
    'best_ckpt': TEXT,
    'run_id': ('16 hex digits', lambda v: isinstance(v, str) and bool(RUN_ID.fullmatch(v))),
}
PYTHON_RNG = {
    'version': _count(10),
    'words': _tensor(torch.int64, 625),
    'gauss': OPTIONAL_NUMBER,
}
NUMPY_RNG = {
    'words': _tensor(torch.int64, 624),
    'position': _count(624),
    'has_gauss': _count(1),
    'gauss': NUMBER,
}


def check_resumable(checkpoint: Mapping, source: str | os.PathLike) -> None:
    """Check types, ranges and shapes of everything that resuming reads, but not the numbers in
    tensors, which may be of the device 'meta'."""
    check = _Checker(source)
    check.values(checkpoint, {'meta': DICT, 'optimizer': DICT}, '')
    absent = [key for key in ('meta', 'optimizer') if key not in checkpoint]
    if absent or 'epoch' not in checkpoint['meta']:
        raise CheckpointError(
            f'Cannot resume from {source}: it holds no {" and no ".join(absent) or "epoch"}. To '
            f'start anew from its weights use --cfg-options load_from={source}.'
        )
    check.values(checkpoint, {'message_hub': DICT, 'param_schedulers': DICTS, 'rng': DICTS}, '')
    check.values(checkpoint['meta'], META, 'meta.')
    _check_position(checkpoint['meta'], source)
    check.values(checkpoint['optimizer'], {'state': DICT, 'param_groups': DICTS}, 'optimizer.')
    for key, state in checkpoint['optimizer'].get('state', {}).items():
        check.values({'state': state}, {'state': DICT}, f'optimizer.{key}.')
    hub = checkpoint.get('message_hub', {})
    check.values(hub, {'runtime_info': DICT}, 'message_hub.')
    check.values(hub.get('runtime_info', {}), INFO, 'message_hub.runtime_info.')
    for rank, state in enumerate(checkpoint.get('rng', [])):
        _check_rng(check, state, f'rng[{rank}].')


class _Checker:
    """Compares the entries of dicts with rules."""

    def __init__(self, source: str | os.PathLike) -> None:
        self.source = source

    def values(self, given: Mapping, rules: Mapping[str, Rule], where: str) -> None:
        """Entries that are absent pass."""
        for key, (legal, holds) in rules.items():
            if key in given and not holds(given[key]):
                self.refuse(f'{where}{key}', given[key], legal)

    def refuse(self, where: str, given: Any, legal: str) -> None:
        shown = type(given).__name__
        if isinstance(given, int | float | str):
            shown = repr(given)[:60]
        elif isinstance(given, Tensor):
            shown = f'a tensor {tuple(given.shape)} of {given.dtype}'
        raise CheckpointError(
            f'Cannot resume from {self.source}: its `{where}` is {shown}, but must be {legal}. '
            f'Take another checkpoint, or start anew from its weights with --cfg-options '
            f'load_from={self.source}.'
        )


def _check_position(meta: Mapping, source: str | os.PathLike) -> None:
    epoch, per_epoch = meta['epoch'], meta.get('iters_per_epoch')
    done = meta.get('iter', 0)
    if per_epoch and not epoch * per_epoch <= done <= (epoch + 1) * per_epoch:
        raise CheckpointError(
            f'Cannot resume from {source}: {done} iterations do not fit {epoch} finished epochs of '
            f'{per_epoch}.'
        )


def _check_rng(check: _Checker, state: Mapping, where: str) -> None:
    for key in ('python', 'numpy', 'torch'):
        if key not in state:
            check.refuse(f'{where}{key}', None, 'there')
    check.values(state, {'python': DICT, 'numpy': DICT, 'torch': _tensor(torch.uint8)}, where)
    check.values(state, {'cuda': _tensor(torch.uint8)}, where)
    for name, rules in (('python', PYTHON_RNG), ('numpy', NUMPY_RNG)):
        for key in rules.keys() - state[name].keys():
            check.refuse(f'{where}{name}.{key}', None, rules[key][0])
        check.values(state[name], rules, f'{where}{name}.')
