"""The split of a test set over ranks: whole videos, in order, about as many frames each."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmdet.registry import DATA_SAMPLERS


def split_videos(lengths: Sequence[int], parts: int) -> list[range]:
    """Cut a row of videos into `parts` contiguous ranges of frames.

    Cut k is the start of a video (or the end) that is nearest to k/parts of all frames. The ranges
    are disjoint and complete; with few or very unequal videos some are empty.

    Args:
        lengths: frames of each video, in order.
        parts: any number >= 1.
    """
    starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))])
    targets = starts[-1] * np.arange(parts + 1) / parts
    after = np.searchsorted(starts, targets).clip(max=len(starts) - 1)
    before = (after - 1).clip(min=0)
    nearer = np.where(starts[after] - targets <= targets - starts[before], after, before)
    cuts = starts[nearer].tolist()
    cuts[0], cuts[-1] = 0, int(starts[-1])
    return [range(start, end) for start, end in pairwise(cuts)]


@DATA_SAMPLERS.register_module()
class VideoSampler(Sampler):
    """This rank's samples of a test set, each exactly once over all ranks.

    Args:
        dataset: `video_lengths` gives the samples of each video, in order; None for an image set,
            which is cut anywhere.
        seed: taken because mmengine gives one to every sampler; nothing is random here.
    """

    def __init__(self, dataset: Any, seed: int | None = None):
        rank, world_size = get_dist_info()
        lengths = dataset.video_lengths
        lengths = [1] * len(dataset) if lengths is None else lengths
        self.samples = split_videos(lengths, world_size)[rank]

    def __iter__(self) -> Iterator[int]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)
