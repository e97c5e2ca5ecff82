"""Bringing Python objects from all processes to rank 0, and one back. Without a process group,
the process is rank 0 of 1."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from mmengine.dist import broadcast_object_list, gather_object, get_world_size

Group = dist.ProcessGroup | None  # None: the default group


@contextmanager
def cpu_group(timeout_s: float) -> Iterator[Group]:
    """A group for objects, which travel pickled through memory of the CPU.

    The default group if it is gloo's; beside NCCL, through which objects would pass the memory of
    the GPU, one of its own. Every rank must enter this when a test starts, while the ranks are
    together: opening a group waits for all of them, and a rank waits `timeout_s` for another.
    """
    if get_world_size() == 1 or dist.get_backend() == 'gloo':
        yield None
        return
    group = dist.new_group(backend='gloo', timeout=timedelta(seconds=timeout_s))
    try:
        yield group
    finally:
        dist.destroy_process_group(group)


def gather_objects(obj: Any, group: Group = None) -> list | None:
    """The objects of all ranks, in their order, on rank 0; None elsewhere. All must call it."""
    return gather_object(obj, 0, group)


def broadcast_object(obj: Any, group: Group = None) -> Any:
    """The object of rank 0, on every rank."""
    holder = [obj]
    broadcast_object_list(holder, 0, group)
    return holder[0]
