"""Bringing Python objects from all processes to rank 0, and one back. Without a process group,
the process is rank 0 of 1."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist


def gather_objects(obj: Any) -> list | None:
    """The objects of all ranks in the order of the ranks, on rank 0; None elsewhere.

    Every rank must call it. The objects may differ in size and be empty; they travel pickled
    through memory of the CPU, whatever backend the training uses.
    """
    if not _several():
        return [obj]
    with _cpu_group() as group:
        objects = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(obj, objects, dst=0, group=group)
    return objects


def broadcast_object(obj: Any) -> Any:
    """The object of rank 0, on every rank."""
    if not _several():
        return obj
    holder = [obj]
    with _cpu_group() as group:
        dist.broadcast_object_list(holder, src=0, group=group)
    return holder[0]


def is_rank_0() -> bool:
    return not _several() or dist.get_rank() == 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def _cpu_group() -> Iterator[dist.ProcessGroup | None]:
    """The default group if it is gloo's; beside NCCL, which has no gather, a group for the while.

    Objects sent through NCCL would also pass through the memory of the GPU.
    """
    if dist.get_backend() == 'gloo':
        yield None
        return
    group = dist.new_group(backend='gloo')
    try:
        yield group
    finally:
        dist.destroy_process_group(group)
