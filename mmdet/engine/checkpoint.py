"""Checkpoints: written whole, holding plain values only; read without running their code.

A file of ours holds `meta`, `state_dict` and, for resuming, `optimizer`, `param_schedulers`, `rng`
(one entry per rank) and `message_hub`: tensors, numbers, strings, lists and dicts, nothing else.
"""

import collections
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmdet.core.errors import CheckpointError
from mmdet.core.fileio import atomic_write
from mmdet.core.safe_load import MAX_LISTED, BlockedGlobals, load_safely

PLAIN = (bool, int, float, str)
DETECTOR = 'detector.'  # what a video model puts before the names of its single-frame model


def plain(value: Any, where: str = 'checkpoint') -> Any:
    """A copy made of tensors on the CPU, numbers, strings, lists and dicts.

    Tuples and sets become lists, arrays become tensors. A tensor that is a view gets storage of
    its own, so that no more than it is saved.

    Raises:
        TypeError: names the place of a value that cannot be written so.
    """
    if value is None or type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return tensor if whole else tensor.clone()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    for kind in PLAIN:  # subclasses, whose class would be written into the file
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {_plain_key(k, where): plain(v, f'{where}.{k}') for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return [plain(v, f'{where}[{i}]') for i, v in enumerate(value)]
    raise TypeError(
        f'Cannot save {where}: it is a {type(value).__name__}. Checkpoints hold tensors, numbers, '
        f'strings, lists and dicts only.'
    )


def _plain_key(key: Any, where: str) -> str | int:
    if not isinstance(key, (str, int)):
        raise TypeError(f'Cannot save {where}: the key {key!r} is neither a string nor a number.')
    return key if type(key) in PLAIN else plain(key, where)


def save_checkpoint(checkpoint: Mapping, path: str | os.PathLike) -> None:
    """Write `checkpoint` (see `plain`) so that `path` is always the old file or the new one."""
    checkpoint = plain(checkpoint)
    with atomic_write(path, 'wb') as file:
        torch.save(checkpoint, file)


def load_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], allow_partial: bool = False
) -> list[str]:
    """Copy weights into `model`; say which do not fit.

    Those of a single-frame model fit into the detector of a video model: the rest of it is missing.

    Args:
        model: may be wrapped for data parallelism.
        state_dict: names and tensors, see `state_dict_of`.
        allow_partial: load what fits and warn about the rest, instead of refusing.

    Returns:
        one line each for missing, unexpected and wrongly shaped names; empty when all fit.

    Raises:
        CheckpointError: something does not fit and `allow_partial` is False.
    """
    model = getattr(model, 'module', model)
    own = model.state_dict()
    if not any(name in own for name in state_dict):
        nested = {DETECTOR + name: tensor for name, tensor in state_dict.items()}
        state_dict = nested if any(name in own for name in nested) else state_dict
    shapes = [
        f'{name} (checkpoint {tuple(tensor.shape)}, model {tuple(own[name].shape)})'
        for name, tensor in state_dict.items()
        if name in own and own[name].shape != tensor.shape
    ]
    wrong = {line.split(' ')[0] for line in shapes}
    fitting = {name: tensor for name, tensor in state_dict.items() if name not in wrong}
    # `load_state_dict` and not a comparison of names: models may rename keys in hooks
    missing, unexpected = model.load_state_dict(fitting, strict=False)
    missing = [n for n in missing if n not in wrong and not n.endswith('num_batches_tracked')]
    report = [
        f'{len(names)} {kind}: {", ".join(names[:MAX_LISTED])}'
        + (f' and {len(names) - MAX_LISTED} more' if len(names) > MAX_LISTED else '')
        for kind, names in (
            ('missing in the checkpoint', missing),
            ('unexpected in the checkpoint', unexpected),
            ('of another shape', shapes),
        )
        if names
    ]
    if not any(name in own for name in fitting) and unexpected:
        raise CheckpointError(
            f'None of the {len(state_dict)} weights fits the model: they are of another one. It '
            f'has names like {next(iter(own), "-")}, the checkpoint like {next(iter(state_dict))}.'
        )
    if report and not allow_partial:
        raise CheckpointError(
            'The checkpoint does not fit the model. '
            + '; '.join(report)
            + '. Test with the config it was trained with, or give --allow-partial to load what '
            'fits and leave the rest at random.'
        )
    return report


def find_latest_valid(work_dir: str | os.PathLike) -> Path | None:
    """The newest whole checkpoint that training can resume from, or None.

    Newest by the time saved inside the file, which copying does not change. Damaged files are
    skipped with a warning.
    """
    found = []
    for path in Path(work_dir).glob('*.pth'):
        if path.name.startswith('best_') or path.is_symlink():
            continue
        try:
            checkpoint = load_safely(path, mmap=True)
        except (CheckpointError, BlockedGlobals) as error:
            print_log(f'Skipping {path}: {error}', logger='current', level=logging.WARNING)
            continue
        if isinstance(checkpoint, Mapping) and 'optimizer' in checkpoint:
            meta = checkpoint.get('meta', {})
            found.append((meta.get('saved_at', 0.0), meta.get('iter', 0), path))
    return max(found)[2] if found else None
