"""The stages of MEGA and RDN, frame by frame, against the original's procedure with deques."""

import naive_mega
import numpy as np
import pytest
import torch
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import MegaAggregator, RDNAggregator
from mmdet.models.aggregators.regions import Regions, beside

CHANNELS, HEADS, KEYS, BASE, DISTILLED = 16, 4, 6, 5, 2
SIZES = dict(proposals=KEYS, base=BASE, distilled=DISTILLED)


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.double()


def layers(number: int) -> nn.ModuleList:
    return randomise(nn.ModuleList(nn.Linear(CHANNELS, CHANNELS) for _ in range(number)))


def regions_of(frame: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(int(frame))
    low = rng.uniform(0, 300, (KEYS, 2))
    boxes = torch.tensor(np.concatenate([low, low + rng.uniform(5, 200, (KEYS, 2))], 1))
    rows = torch.tensor(rng.normal(0, 1, (KEYS, CHANNELS))).relu()
    return boxes[:number], rows[:number]


def regions(frames, number: int, padding: int = 0) -> Regions:
    """Regions [1, F, number, ...] of frames, followed by `padding` frames that do not exist."""
    parts = [regions_of(frame, number) for frame in [*frames, *[99] * padding]]
    boxes, rows = (torch.stack(x)[None] for x in zip(*parts, strict=True))
    valid = torch.ones(1, len(parts), number, dtype=torch.bool)
    valid[:, len(frames) :] = False
    return Regions(rows, boxes, valid)


def key_of(frame: int) -> Regions:
    return regions([frame], KEYS).flat()


@pytest.mark.parametrize(('stages', 'global_stages'), [(3, 1), (3, 2), (2, 1)])
def test_mega_equals_the_original_from_its_second_frame_on(stages, global_stages):
    length, reach, num_global = 6, 1, 2
    module = randomise(MegaAggregator(CHANNELS, HEADS, stages, global_stages, DISTILLED))
    fcs = layers(stages - 1)
    order = np.array([3, 0, 4, 1, 5, 2])
    expected = naive_mega.mega(
        regions_of, module.local, module.get_submodule('global'), fcs, order,
        reach=reach, memory_frames=3, num_global=num_global, **SIZES,
    )  # fmt: skip
    memory: list[list[Regions]] = [[] for _ in range(stages)]
    for t, (boxes, rows) in enumerate(expected):
        window = regions(np.clip([t - 1, t, t + 1], 0, length - 1), BASE)
        newest = [order[1], order[0], *order[2:], *order][t : t + num_global]
        read = None if t == 0 else [_joined(bank) for bank in memory]
        with torch.no_grad():
            found, kept = module(
                fcs, key_of(t), window, regions(newest, BASE, padding=1).flat(), read
            )
        assert torch.equal(boxes, key_of(t).boxes[0])
        torch.testing.assert_close(found[0], rows, atol=1e-9, rtol=1e-9)
        for bank, refs in zip(memory, kept, strict=True):
            bank.append(Regions(*(x[:, 0] for x in (refs.rows, refs.boxes, refs.valid))))
            del bank[:-3]


def _joined(bank: list[Regions]) -> Regions:
    joined = bank[0]
    for write in bank[1:]:
        joined = beside(joined, write)
    return joined


@pytest.mark.parametrize(('stages', 'advanced'), [(2, 0), (1, 0), (2, 1), (2, 2)])
def test_rdn_equals_the_original(stages, advanced):
    length = 5
    module = randomise(RDNAggregator(CHANNELS, HEADS, stages, advanced, DISTILLED))
    fcs = layers(module.num_fcs - 1)
    expected = naive_mega.rdn(
        regions_of, module.local, fcs, length, reach=2, base_stages=stages, **SIZES
    )
    for t, (_, rows) in enumerate(expected):
        window = regions(np.clip(np.arange(t - 2, t + 3), 0, length - 1), BASE, padding=2)
        with torch.no_grad():
            found, _ = module(fcs, key_of(t), window)
        torch.testing.assert_close(found[0], rows, atol=1e-9, rtol=1e-9)


def test_a_memory_is_made_without_a_key_frame_as_beside_one():
    module, fcs = randomise(MegaAggregator(CHANNELS, HEADS, distilled=DISTILLED)), layers(2)
    window, globals_ = regions([0, 1, 2], BASE), regions([4, 5], BASE).flat()
    _, kept = module(fcs, key_of(1), window, globals_)
    rows, alone = module(fcs, None, window, globals_)
    assert rows is None
    for a, b, number in zip(kept, alone, (BASE, DISTILLED, DISTILLED), strict=True):
        assert a.rows.shape == (1, 3, number, CHANNELS)
        torch.testing.assert_close(a.rows, b.rows)
        assert torch.equal(a.boxes, window.boxes[:, :, :number]) and torch.equal(a.valid, b.valid)


def test_frames_of_a_batch_do_not_see_each_other():
    module, fcs = randomise(MegaAggregator(CHANNELS, HEADS, distilled=DISTILLED)), layers(2)
    videos = [
        (key_of(1), regions([0, 1, 2], BASE), regions([4, 5], BASE).flat()),
        (key_of(8), regions([7, 8], BASE, padding=1), regions([6], BASE, 1).flat()),
    ]
    batch = [_stacked(parts) for parts in zip(*videos, strict=True)]
    rows, _ = module(fcs, *batch)
    for i, video in enumerate(videos):
        torch.testing.assert_close(rows[i], module(fcs, *video)[0][0])


def _stacked(parts: tuple[Regions, ...]) -> Regions:
    return Regions(*(torch.cat([getattr(p, n) for p in parts]) for n in ('rows', 'boxes', 'valid')))


@pytest.mark.parametrize(
    ('kind', 'arguments'),
    [
        (MegaAggregator, dict(stages=1)),
        (MegaAggregator, dict(global_stages=3)),
        (RDNAggregator, dict(stages=0)),
        (RDNAggregator, dict(advanced_stages=-1)),
    ],
)
def test_impossible_stages_are_refused(kind, arguments):
    with pytest.raises(ConfigError, match=f'{kind.__name__} has'):
        kind(CHANNELS, HEADS, **arguments)


@pytest.mark.parametrize(
    ('module', 'parameters'),
    [
        # relations of 1024 channels: q, k, v 1,049,600 each, positions 1,040, prior 1,024
        (lambda: MegaAggregator(1024, global_stages=2), 3 * 3_150_864 + 2 * 3_149_824),
        (lambda: RDNAggregator(1024, advanced_stages=1), 4 * 3_149_840),
    ],
)
def test_number_of_parameters(module, parameters):
    assert sum(p.numel() for p in module().parameters()) == parameters
