"""Checkpoints: written whole, holding plain values only; read without running their code.

A file of ours holds `meta`, `state_dict` and, for resuming, `optimizer`, `param_schedulers`, `rng`
(one entry per rank) and `message_hub`: tensors, numbers, strings, lists and dicts, nothing else.
"""

import collections
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmdet.core.checkpoint_file import MAX_LISTED
from mmdet.core.errors import CheckpointError
from mmdet.core.fileio import atomic_write, writing
from mmdet.core.pickle_notes import BlockedGlobals
from mmdet.core.torch_file import add_digest, read_torch_file
from mmdet.engine.checkpoint_schema import check_resumable

PLAIN = (bool, int, float, str)
DETECTOR = 'detector.'  # what a video model puts before the names of its single-frame model


def plain(value: Any, where: str = 'checkpoint') -> Any:
    """A copy made of tensors on the CPU, numbers, strings, lists and dicts.

    Tuples and sets become lists, arrays become tensors. A tensor that is a view gets storage of
    its own, so that no more than it is saved. TypeError: what cannot be written so, with its place.
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
    """Write `checkpoint` (see `plain`) so that `path` is always the old file or the new one.

    The file carries a digest of all its records, which is compared when it is read.
    """
    checkpoint = plain(checkpoint)
    with atomic_write(path, 'wb') as file:
        torch.save(checkpoint, file)
        file.flush()
        with writing(path):
            add_digest(Path(os.fsdecode(file.name)))


def bare(model: nn.Module) -> nn.Module:
    """The model inside of the wrappers of data parallelism and of `torch.compile`."""
    while True:
        inner = getattr(model, 'module', None) or getattr(model, '_orig_mod', None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def load_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], allow_partial: bool = False
) -> list[str]:
    """Copy weights (see `state_dict_of`) into `model`; say which do not fit.

    Those of a single-frame model fit into the detector of a video model: the rest of it is missing.

    Args:
        model: may be wrapped for data parallelism or compiled.
        allow_partial: load what fits, instead of refusing what does not fit or is not finite.

    Returns:
        one line each for missing, unexpected and wrongly shaped names; empty when all fit.
    """
    model = bare(model)
    own = model.state_dict()
    if not any(name in own for name in state_dict):
        nested = {DETECTOR + name: tensor for name, tensor in state_dict.items()}
        state_dict = nested if any(name in own for name in nested) else state_dict
    shapes = [
        f'{name} (checkpoint {tuple(tensor.shape)}, model {tuple(own[name].shape)})'
        for name, tensor in state_dict.items()
        if name in own and own[name].shape != tensor.shape
    ]
    broken = [
        name
        for name, tensor in state_dict.items()
        if not tensor.is_meta and tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    wrong = {line.split(' ')[0] for line in shapes} | set(broken)
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
            ('with NaN or infinite numbers (its training had diverged)', broken),
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

    Newest by the time saved inside the file, which copying does not change. Files whose check sums
    are wrong or whose contents training cannot use are skipped with a warning.
    """
    found = []
    for path in Path(work_dir).glob('*.pth'):
        if path.name.startswith('best_') or path.is_symlink():
            continue
        with _skipping(path):
            checkpoint = read_torch_file(path, weights=False)
            if isinstance(checkpoint, Mapping) and 'optimizer' in checkpoint:
                check_resumable(checkpoint, path)
                meta = checkpoint['meta']
                found.append((meta.get('saved_at', 0.0), meta.get('iter', 0), path))
    for *_, path in sorted(found, reverse=True):
        with _skipping(path):
            read_torch_file(path)
            return path
    return None


@contextmanager
def _skipping(path: Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, BlockedGlobals) as error:
        print_log(f'Skipping {path}: {error}', logger='current', level=logging.WARNING)
