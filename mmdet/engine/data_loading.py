"""Data workers: seeded, single-threaded, deaf to Ctrl-C."""

import random
import signal
from collections.abc import Mapping
from functools import partial

import cv2
import numpy as np
import torch
from mmengine.dist import get_rank

FOR_WORKERS = ('persistent_workers', 'prefetch_factor')  # DataLoader refuses them without any


def loader_config(dataloader: Mapping, seed: int) -> dict:
    """The config of a DataLoader with our worker start-up, and legal without workers."""
    cfg = dict(dataloader)
    if cfg.get('num_workers', 0) == 0:
        for key in FOR_WORKERS:
            cfg.pop(key, None)
    start = partial(_init_worker, seed=seed, rank=get_rank())
    cfg.setdefault('worker_init_fn', {'type': start})
    return cfg


def _init_worker(worker_id: int, seed: int, rank: int) -> None:
    """Seed a data worker, keep it single-threaded, and leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker_seed = (seed + 1000 * rank + worker_id) % 2**32
    random.seed(worker_seed)
    np.random.seed(worker_seed)
    torch.manual_seed(worker_seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
