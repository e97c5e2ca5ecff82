"""Unpickling files of unknown origin without running their code.

PyTorch's `weights_only` refuses every class it does not know. Files of other toolboxes hold a few
harmless ones beside the weights: those are let through by name, or replaced by inert stand-ins.
"""

import argparse
import collections
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmdet.core.errors import CheckpointError

MAX_LISTED = 12  # names in a message before "and N more"


class BlockedGlobals(Exception):
    """Carries the names of the globals that may not be loaded."""


def load_safely(path: Path, mmap: bool = False) -> Any:
    """What the file holds, on the CPU, without running code from it.

    Args:
        path: a file written by `torch.save`.
        mmap: leave the tensors on the disk until they are read.

    Raises:
        CheckpointError: truncated, or not written by `torch.save`.
        BlockedGlobals: it holds objects of classes that are not on the allow-list.
    """
    try:
        return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        blocked = _names_in(error)
        if not blocked:
            raise CheckpointError(f'{path} is not a PyTorch checkpoint.') from error
    except Exception as error:  # the unpickler fails in many ways on bytes that are no pickle
        size = path.stat().st_size
        raise CheckpointError(
            f'{path} ({size} bytes) is truncated or not a PyTorch checkpoint: '
            f'{str(error).splitlines()[0] if str(error) else "empty file"}'
        ) from error
    if not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):  # torch < 2.6
        raise BlockedGlobals(', '.join(blocked))
    try:
        with torch.serialization.safe_globals(_known_globals()):
            return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise BlockedGlobals(_blocked_names(path, error)) from None


def _names_in(error: Exception) -> list[str]:
    return re.findall(r'GLOBAL ([\w.]+)', str(error))


def _blocked_names(path: Path, error: Exception) -> str:
    """The globals to blame: all of them for zip files, the first one for files of old torch."""
    known = {name if isinstance(name, str) else '' for _, name in _named_globals()}
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a zip file
        names = _names_in(error)
    return ', '.join(sorted(set(names) - known)[:MAX_LISTED]) or str(error).splitlines()[0]


class _Inert:
    """Stands for a class of another toolbox: takes any state, does nothing."""

    def __init__(self, *args) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _inert_getattr(*_) -> None:
    """Stands for `getattr`, by which pickled methods are found."""


class _PlainDict(dict):
    """Stands for the dict classes of configs."""


def _named_globals() -> list[tuple[Any, str]]:
    """Globals allowed under the names they had when foreign files were written."""
    core = np._core if hasattr(np, '_core') else np.core
    named = [
        (_Inert, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_PlainDict, 'mmengine.config.config.ConfigDict'),
        (_PlainDict, 'mmcv.utils.config.ConfigDict'),
        (_inert_getattr, 'builtins.getattr'),
        (_inert_getattr, '__builtin__.getattr'),
        (np.dtype, 'numpy.dtype'),
        (np.ndarray, 'numpy.ndarray'),
    ]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        named += [
            (core.multiarray.scalar, f'{module}.scalar'),
            (core.multiarray._reconstruct, f'{module}._reconstruct'),
        ]
    return named


def _known_globals() -> list:
    """The short allow-list: containers, numpy scalars and arrays, inert stand-ins."""
    dtypes = {type(np.dtype(code)) for code in '?bBhHiIlLqQefd'}
    containers = [collections.Counter, collections.defaultdict, argparse.Namespace]
    return [*_named_globals(), *containers, *dtypes]
