"""Data loaders, with workers that are seeded, single-threaded and deaf to Ctrl-C."""

import random
import signal
from collections.abc import Mapping
from functools import partial

import cv2
import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdet.engine.shared_memory import fit_workers

FOR_WORKERS = (
    'persistent_workers',
    'prefetch_factor',
    'timeout',
)  # DataLoader refuses them without any


def build_loader(
    dataloader: DataLoader | Mapping,
    seed: int | None = None,
    diff_rank_seed: bool = False,
    pin_memory: bool = False,
) -> DataLoader:
    """A DataLoader of its config; one that is built already is returned as it is.

    Args:
        dataloader: what torch's DataLoader takes, with configs for dataset and samplers.
        seed: of the samplers and the workers; 0 when None.
        diff_rank_seed: each rank gets a seed of its own.
        pin_memory: batches lie in memory that a GPU can fetch from while it computes; a
            `pin_memory` of the config goes before.
    """
    if isinstance(dataloader, DataLoader):
        return dataloader
    seed = 0 if seed is None else seed
    cfg = _loader_config({'pin_memory': pin_memory, **dataloader}, seed)
    loader = Runner.build_dataloader(cfg, seed, diff_rank_seed)
    loader.generator = torch.Generator().manual_seed(seed)  # leaves the global one alone
    return loader


def _loader_config(dataloader: Mapping, seed: int) -> dict:
    """With our worker start-up, and legal without workers."""
    cfg = dict(dataloader)
    fit_workers(cfg)
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
