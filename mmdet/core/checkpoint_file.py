"""Reading a checkpoint file, from a path or an address, without running code from it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mmdet.core.download import fetch, is_url
from mmdet.core.errors import CheckpointError
from mmdet.core.pickle_notes import BlockedGlobals
from mmdet.core.torch_file import check_records, read_torch_file

MAX_LISTED = 12  # names in a message before "and N more"
# what wrappers put into names: DistributedDataParallel before all, torch.compile where it is used
WRAPPED, COMPILED = 'module.', '_orig_mod.'


def local_rank() -> int:
    """The number of this process on its node."""
    return int(os.environ.get('LOCAL_RANK', 0))


def load_checkpoint_file(source: str | os.PathLike, trust: bool = False) -> dict:
    """Read a checkpoint onto the CPU without running code from it.

    Args:
        source: a path, or an http(s) address (fetched once into torch's cache).
        trust: unpickle freely where the safe ways do not suffice: only for files whose origin is
            known, since loading one can run any code.

    Returns:
        the dict in the file: a container with `state_dict`, or a bare dict of tensors.

    Raises:
        CheckpointError: absent, truncated, damaged (names the record whose check sum is wrong), no
            checkpoint at all, or in need of `trust`.
    """
    path = fetch_once(source) if is_url(source) else existing_file(source)
    try:
        checkpoint = read_torch_file(path)
    except BlockedGlobals as blocked:
        if not trust:
            raise CheckpointError(
                f'{path} holds objects that only running code from the file could load: '
                f'{blocked}. If you trust where it comes from, give --trust-checkpoint.'
            ) from None
        check_records(path)
        checkpoint = torch.load(path, map_location='cpu', weights_only=False)
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(
            f'{path} holds a {type(checkpoint).__name__}, not a dict of weights. Save '
            f'`model.state_dict()` instead.'
        )
    return dict(checkpoint)


def fetch_once(url: str | os.PathLike) -> Path:
    """The local copy of an address; the first process of each node downloads it."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and local_rank() > 0:
        torch.distributed.barrier()
    path = fetch(str(url))
    if distributed and local_rank() == 0:
        torch.distributed.barrier()
    return path


def existing_file(source: str | os.PathLike) -> Path:
    """`source` as a path; CheckpointError: there is no such file, but those of its folder."""
    path = Path(source).expanduser()
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob('*.pth'))[:MAX_LISTED]
        found = f'That folder has: {", ".join(near)}.' if near else 'That folder has no .pth file.'
        raise CheckpointError(f'No checkpoint at {path}. {found}')
    return path


def state_dict_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """The weights in a container of ours, of 1.x, of DETR's kind (`model`), or a bare state dict,
    under the names of the model itself; CheckpointError: there are none."""
    for key in ('state_dict', 'model', 'params'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    weights = {k: v for k, v in checkpoint.items() if isinstance(v, Tensor)}
    if not weights:
        keys = ', '.join(map(str, list(checkpoint)[:MAX_LISTED]))
        raise CheckpointError(
            f'The checkpoint has no weights: neither `state_dict` nor tensors. Keys: {keys}.'
        )
    return own_names(weights)


def own_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the model itself: without `_orig_mod.` and, before all, `module.`.

    Both may come several times and in any order, as wrappers can be nested.
    """
    names = {name: re.sub(rf'(^|\.){re.escape(COMPILED)}', r'\1', name) for name in weights}
    while all(name.startswith(WRAPPED) for name in names.values()) and names:
        names = {full: name.removeprefix(WRAPPED) for full, name in names.items()}
    return {names[full]: tensor for full, tensor in weights.items()}
