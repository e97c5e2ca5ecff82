"""The order of training samples and the split of test sets, against their definitions."""

from collections import Counter
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest

from mmdet.core.errors import ConfigError
from mmdet.datasets.samplers import (
    AspectRatioBatchSampler,
    ClipSampler,
    VideoSampler,
    clip_sampler,
    split_videos,
    video_sampler,
)


def dataset_of(wide: int, high: int) -> SimpleNamespace:
    flags = np.zeros(wide + high, np.uint8)
    flags[np.random.default_rng(0).permutation(wide + high)[:wide]] = 1
    return SimpleNamespace(aspect_flags=flags)


def batches_of(monkeypatch, dataset, rank=0, world=1, batch=1, seed=0, epoch=0, start=0, **kwargs):
    monkeypatch.setattr(clip_sampler, 'get_dist_info', lambda: (rank, world))
    batch_sampler = AspectRatioBatchSampler(ClipSampler(dataset, seed, **kwargs), batch)
    batch_sampler.set_position(epoch, start)
    batches = list(batch_sampler)
    assert len(batches) == len(batch_sampler) - start
    return batches


@pytest.mark.parametrize(('wide', 'high'), [(97, 13), (0, 3)])
@pytest.mark.parametrize(('world', 'batch'), [(1, 1), (3, 2), (8, 4)])
def test_every_sample_comes_and_batches_have_one_orientation(monkeypatch, wide, high, world, batch):
    dataset, step = dataset_of(wide, high), world * batch
    ranks = [batches_of(monkeypatch, dataset, r, world, batch) for r in range(world)]
    padded = -(-wide // step) * step + -(-high // step) * step
    assert {len(batches) * step for batches in ranks} == {padded}
    indices = [[index for index, _ in keys] for batches in ranks for keys in batches]
    assert all(len(keys) == batch for keys in indices)
    assert all(len(set(dataset.aspect_flags[keys])) == 1 for keys in indices)
    counts = Counter(chain(*indices))
    assert set(counts) == set(range(wide + high))
    seeds = [seed for batches in ranks for keys in batches for _, seed in keys]
    assert len(seeds) == len(set(seeds)) and min(seeds) >= 0
    for flag in (0, 1):  # repeats are spread evenly over the group
        of_group = [counts[i] for i in np.flatnonzero(dataset.aspect_flags == flag).tolist()]
        assert not of_group or max(of_group) - min(of_group) <= 1


def test_order_depends_on_seed_and_epoch_only(monkeypatch):
    dataset = dataset_of(40, 20)
    first = batches_of(monkeypatch, dataset, batch=2, seed=3, epoch=5)
    np.random.seed(0)
    assert batches_of(monkeypatch, dataset, batch=2, seed=3, epoch=5) == first
    for seed, epoch in ((3, 6), (4, 5)):
        other = batches_of(monkeypatch, dataset, batch=2, seed=seed, epoch=epoch)
        assert [[i for i, _ in keys] for keys in other] != [[i for i, _ in keys] for keys in first]
        assert not {s for _, s in chain(*other)} & {s for _, s in chain(*first)}
    flags = [dataset.aspect_flags[keys[0][0]] for keys in first]
    assert flags not in (sorted(flags), sorted(flags, reverse=True))  # groups are mixed
    firsts = [keys[0][0] for keys in batches_of(monkeypatch, dataset, batch=3, shuffle=False)]
    assert firsts == sorted(firsts)
    assert [i for i, _ in ClipSampler(dataset_of(7, 0), seed=0, shuffle=False)] == list(range(7))


@pytest.mark.parametrize('rank', [0, 1])
def test_resuming_is_an_index(monkeypatch, rank):
    dataset = dataset_of(40, 21)
    whole = batches_of(monkeypatch, dataset, rank, 2, 3, epoch=2)
    for start in (0, 1, 7, len(whole) - 1, len(whole)):
        rest = batches_of(monkeypatch, dataset, rank, 2, 3, epoch=2, start=start)
        assert rest == whole[start:]


def test_only_the_resumed_epoch_starts_late():
    batch_sampler = AspectRatioBatchSampler(ClipSampler(dataset_of(9, 0), seed=0), 2)
    batch_sampler.set_position(1, 3)
    assert len(list(batch_sampler)) == 2 and len(batch_sampler) == 5
    batch_sampler.sampler.set_epoch(2)  # what mmengine's hook calls
    assert len(list(batch_sampler)) == 5
    with pytest.raises(ConfigError, match='needs `sampler=dict'):
        AspectRatioBatchSampler(range(4), 1)
    with pytest.raises(ValueError, match=r'start_batch must be in 0\.\.5, not 6'):
        batch_sampler.set_position(3, 6)


def check_split(lengths, parts):
    ranges = split_videos(lengths, parts)
    starts = [0, *np.cumsum(lengths).tolist()]
    assert [i for part in ranges for i in part] == list(range(starts[-1]))  # complete, in order
    assert len(ranges) == parts
    for part in ranges:
        assert part.start in starts and part.stop in starts  # whole videos
        # a cut is at most half a video away from its place
        assert len(part) <= starts[-1] / parts + max(lengths, default=0)
    return [len(part) for part in ranges]


def test_videos_stay_whole_in_a_split():
    assert check_split([40, 1, 5], 2) == [40, 6] and check_split([], 3) == [0, 0, 0]
    assert sorted(check_split([40, 1, 5], 3)) == [0, 6, 40]
    rng = np.random.default_rng(0)
    for _ in range(100):
        check_split(rng.integers(1, 400, rng.integers(1, 60)).tolist(), int(rng.integers(1, 20)))


def test_video_sampler_gives_each_rank_its_part(monkeypatch):
    class Dataset:
        video_lengths = np.array([3, 1, 4, 2])

        def __len__(self):
            return 10

    def samples(world, **options):
        for rank in range(world):
            monkeypatch.setattr(video_sampler, 'get_dist_info', lambda r=rank: (r, world))
            sampler = VideoSampler(Dataset(), seed=7, **options)
            assert len(sampler) == len(list(sampler))
            yield list(sampler)

    assert list(samples(1)) == [list(range(10))]
    assert list(samples(2)) == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert list(chain(*samples(6))) == list(range(10)) and [] in samples(6)
    assert list(samples(1, videos_at_once=2)) == [[0, 3, 1, 4, 2, 5, 8, 6, 9, 7]]
    Dataset.video_lengths = None  # images: cut anywhere
    assert list(samples(3)) == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]
