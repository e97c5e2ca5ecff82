"""The split of a test set over ranks: whole videos, in order, about as many frames each."""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmdet.core.errors import ConfigError
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


def take_turns(videos: Sequence[range], at_once: int) -> list[int]:
    """All frames, one of each of `at_once` videos after the other; the next video comes in where
    one ends."""
    waiting = iter(videos)
    running = [iter(video) for video in islice(waiting, at_once)]
    order = []
    while running:
        for place, video in enumerate(running):
            frame = next(video, None)
            while frame is None and video is not None:
                following = next(waiting, None)
                video = running[place] = None if following is None else iter(following)
                frame = None if video is None else next(video, None)
            if frame is not None:
                order.append(frame)
        running = [video for video in running if video is not None]
    return order


@DATA_SAMPLERS.register_module()
class VideoSampler(Sampler):
    """This rank's samples of a test set, each exactly once over all ranks.

    Args:
        dataset: `video_lengths` gives the samples of each video, in order; None for an image set,
            which is cut anywhere.
        videos_at_once: frames of so many videos take turns, so that a batch holds one of each: what
            depends on the order of frames is then batched, too. Every video stays in its order.
        seed: taken because mmengine gives one to every sampler; nothing is random here.
    """

    def __init__(self, dataset: Any, videos_at_once: int = 1, seed: int | None = None):
        if videos_at_once < 1:
            raise ConfigError(f'VideoSampler: videos_at_once={videos_at_once} must be 1 or more.')
        rank, world_size = get_dist_info()
        lengths = dataset.video_lengths
        lengths = [1] * len(dataset) if lengths is None else lengths
        self.samples: Sequence[int] = split_videos(lengths, world_size)[rank]
        if videos_at_once > 1 and len(self.samples):
            starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).tolist()
            first, last = self.samples[0], self.samples[-1] + 1
            videos = [range(a, b) for a, b in pairwise(starts) if first <= a and b <= last]
            self.samples = take_turns(videos, videos_at_once)

    def __iter__(self) -> Iterator[int]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)
