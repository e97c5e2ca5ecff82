"""Data loaders: workers that are seeded, single-threaded and deaf to Ctrl-C, as many as the shared
memory holds that their batches travel through.

Docker gives a container 64 MB of /dev/shm. A worker that writes beyond it dies by a bus error, or
waits for ever; both strategies of torch (`file_descriptor`, `file_system`) use that memory.
"""

import logging
import random
import shutil
import signal
from collections.abc import Mapping, MutableMapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

# DataLoader refuses them without any
FOR_WORKERS = ('persistent_workers', 'prefetch_factor', 'timeout')
SHARED = Path('/dev/shm')
WORKER_BYTES = 96 << 20  # three batches of a clip of 17 frames, 1000x600 uint8
PATIENCE_S = 60  # without a batch
DIED, LATE = 'DataLoader worker', 'DataLoader timed out'  # how torch's messages begin


def build_loader(
    dataloader: DataLoader | Mapping,
    seed: int | None = None,
    diff_rank_seed: bool = False,
    pin_memory: bool = False,
) -> DataLoader:
    """A DataLoader of its config; one that is built already is returned as it is.

    Args:
        seed: of the samplers and the workers; 0 when None.
        diff_rank_seed: each rank gets a seed of its own.
        pin_memory: batches lie in memory that a GPU can fetch from while it computes; a
            `pin_memory` of the config goes before.
    """
    if isinstance(dataloader, DataLoader):
        return dataloader
    seed = 0 if seed is None else seed
    cfg = {'pin_memory': pin_memory, **dataloader}
    fit_workers(cfg)
    if cfg.get('num_workers', 0) == 0:
        for key in FOR_WORKERS:
            cfg.pop(key, None)
    start = partial(_init_worker, seed=seed, rank=get_rank())
    cfg.setdefault('worker_init_fn', {'type': start})
    loader = Runner.build_dataloader(cfg, seed, diff_rank_seed)
    loader.generator = torch.Generator().manual_seed(seed)  # leaves the global one alone
    return loader


def _init_worker(worker_id: int, seed: int, rank: int) -> None:
    """Seed a data worker, keep it single-threaded, and leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker_seed = (seed + 1000 * rank + worker_id) % 2**32
    random.seed(worker_seed)
    np.random.seed(worker_seed)
    torch.manual_seed(worker_seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def fit_workers(loader: MutableMapping) -> None:
    """Lower the `num_workers` of a config to what the free shared memory holds, with a sentence;
    set its `timeout`."""
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


def end_workers(loader: DataLoader) -> None:
    """End workers that wait for another pass. PyTorch ends those of a loader that pins memory one
    by one when the program ends, and waits five seconds for each."""
    iterator, loader._iterator = loader._iterator, None
    if iterator is not None:
        iterator._shutdown_workers()


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
