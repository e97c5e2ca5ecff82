"""Data workers and the shared memory that their batches travel through.

Docker gives a container 64 MB of /dev/shm. A worker that writes beyond it dies by a bus error, or
waits for ever; both strategies of torch (`file_descriptor`, `file_system`) use that memory.
"""

import logging
import shutil
from collections.abc import MutableMapping
from pathlib import Path

from mmengine.logging import print_log

SHARED = Path('/dev/shm')
WORKER_BYTES = 96 << 20  # three batches of a clip of 17 frames, 1000x600 uint8
PATIENCE_S = 60  # without a batch
DIED, LATE = 'DataLoader worker', 'DataLoader timed out'  # how torch's messages begin


def fit_workers(loader: MutableMapping) -> None:
    """Lower `num_workers` to what the free shared memory holds, with a sentence; set `timeout`.

    Args:
        loader: config of a DataLoader; changed.
    """
    wanted = loader.get('num_workers', 0)
    if not wanted:
        return
    fitting = min(wanted, free_bytes() // WORKER_BYTES)
    if fitting < wanted:
        loader['num_workers'] = fitting
        print_log(
            f'{SHARED} has {free_bytes() >> 20} MiB free, room for the batches of {fitting} data '
            f'worker(s) instead of {wanted}: loading is slower. More room: docker run '
            f'--shm-size=8g, or mount -o remount,size=8g {SHARED}.',
            logger='current',
            level=logging.WARNING,
        )
    if fitting:
        loader.setdefault('timeout', PATIENCE_S)


def free_bytes() -> int:
    """Free shared memory; plenty where the system has none of that name."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else 1 << 60


def about_workers(error: RuntimeError) -> str:
    """What became of a data worker, in one sentence; empty if the error is about another thing."""
    text = ' '.join(str(error).split())
    if text.startswith(LATE):
        return (
            f'The data workers gave no batch for {PATIENCE_S} s: the disk or the network is too '
            f'slow, or a worker hangs. Try train_dataloader.num_workers=0 to see where, or allow '
            f'more with --cfg-options train_dataloader.timeout=600.'
        )
    if not text.startswith(DIED):
        return ''
    return (
        f'A data worker died ({text[:200]}). Either memory ran out and the system killed it, or '
        f'the shared memory did ({SHARED}: {free_bytes() >> 20} MiB free; docker run '
        f'--shm-size=8g gives more). Use fewer workers, or train_dataloader.num_workers=0.'
    )
