"""The order of training samples, a pure function of (seed, epoch, position).

Images wider than high and the others form two groups, so that a batch holds one orientation. Per
epoch each group is shuffled and filled up by repetition to a multiple of batch size x ranks; the
batches of both groups are mixed; every rank takes a contiguous part. Iteration counts are those of
1.x: 109,682 images on 8 GPUs with one clip each make 13,711 iterations.

A key is (index, draw_seed): all random draws of the sample come from a generator with that seed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmdet.core.errors import ConfigError
from mmdet.registry import DATA_SAMPLERS

Key = tuple[int, int]


@DATA_SAMPLERS.register_module()
class ClipSampler(Sampler):
    """Keys of this rank, clip by clip.

    Args:
        dataset: has `aspect_flags`, one small integer per sample.
        seed: the same on every rank; None: a random one, agreed on by the ranks.
        shuffle: otherwise batches are in the order of their first sample.
    """

    def __init__(self, dataset: Any, seed: int | None = None, shuffle: bool = True):
        self.dataset = dataset
        self.seed = sync_random_seed() if seed is None else seed
        self.shuffle = shuffle
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        return (key for batch in self.batches(1) for key in batch)

    def __len__(self) -> int:
        return self.num_batches(1)

    def num_batches(self, batch_size: int) -> int:
        """Batches of one rank in a whole epoch."""
        _, sizes = np.unique(self.dataset.aspect_flags, return_counts=True)
        return int(np.ceil(sizes / (batch_size * self.world_size)).sum())

    def batches(self, batch_size: int, start: int = 0) -> Iterator[list[Key]]:
        """Batches of this rank in the current epoch, from number `start` on."""
        rng = np.random.default_rng((self.seed, self.epoch))
        order = self._epoch_order(batch_size, rng)
        seeds = rng.integers(2**62, size=order.shape)
        share = len(order) // self.world_size
        mine = slice(self.rank * share + start, (self.rank + 1) * share)
        return (
            list(zip(indices.tolist(), draws.tolist(), strict=True))
            for indices, draws in zip(order[mine], seeds[mine], strict=True)
        )

    def _epoch_order(self, batch_size: int, rng: np.random.Generator) -> np.ndarray:
        """[batches of all ranks, batch_size] sample indices."""
        flags = np.asarray(self.dataset.aspect_flags)
        step = batch_size * self.world_size
        groups = []
        for flag in np.unique(flags):
            group = np.flatnonzero(flags == flag)
            if self.shuffle:
                group = rng.permutation(group)
            filled = -(-len(group) // step) * step
            groups.append(np.resize(group, filled).reshape(-1, batch_size))
        order = np.concatenate(groups) if groups else np.empty((0, batch_size), int)
        if self.shuffle:
            return rng.permutation(order)
        return order[np.argsort(order[:, 0], kind='stable')]


@DATA_SAMPLERS.register_module()
class AspectRatioBatchSampler(Sampler):
    """Batches of keys of one orientation.

    Args:
        sampler: gives seed, epoch and rank.
        batch_size: clips of a batch.
    """

    def __init__(self, sampler: ClipSampler, batch_size: int):
        if not isinstance(sampler, ClipSampler):
            raise ConfigError(
                f'AspectRatioBatchSampler needs `sampler=dict(type="ClipSampler")`, '
                f'not {type(sampler).__name__}'
            )
        if batch_size < 1:
            raise ConfigError(f'batch_size must be at least 1, not {batch_size}')
        self.sampler, self.batch_size = sampler, batch_size
        self._start = (0, 0)

    def set_position(self, epoch: int, start_batch: int = 0) -> None:
        """Let the next iteration of `epoch` begin at `start_batch`; other epochs begin at 0."""
        if not 0 <= start_batch <= len(self):
            raise ValueError(f'start_batch must be in 0..{len(self)}, not {start_batch}')
        self.sampler.set_epoch(epoch)
        self._start = (epoch, start_batch)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, start = self._start
        return self.sampler.batches(self.batch_size, start if epoch == self.sampler.epoch else 0)

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank, wherever the iteration starts."""
        return self.sampler.num_batches(self.batch_size)
