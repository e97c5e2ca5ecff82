"""What regions take from others: against literal loops, and what must not matter."""

import naive_mega
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import MegaAggregator, RDNAggregator, Relation, SelsaAggregator
from mmdet.models.aggregators import relation as relation_module

CHANNELS, HEADS, N, M = 24, 4, 7, 11


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def region_pair(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes [1, number, 4] and features [1, number, C], in double precision."""
    rng = np.random.default_rng(int(seed))
    low = rng.uniform(0, 300, (1, number, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 200, (1, number, 2))], 2)
    return torch.tensor(boxes), torch.tensor(rng.normal(0, 1, (1, number, CHANNELS)))


def test_references_that_do_not_exist_are_not_seen():
    aggregator = randomised(SelsaAggregator(CHANNELS, HEADS)).double()
    query, refs = region_pair(9, 1)[1].view(3, 3, -1), region_pair(15, 2)[1].view(3, 5, -1)
    valid = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    found = aggregator(query, refs, valid)
    for i in (0, 2):
        (expected,) = aggregator(query[i : i + 1], refs[i : i + 1, valid[i]])
        torch.testing.assert_close(found[i], expected, atol=1e-12, rtol=0)
    assert not found[1].any()


@pytest.mark.parametrize('position', [True, False])
@pytest.mark.parametrize('key_prior', [True, False])
@pytest.mark.parametrize('chunk', [3, 128])
def test_a_relation_equals_a_literal_loop(position, key_prior, chunk, monkeypatch):
    monkeypatch.setattr(relation_module, 'QUERY_CHUNK', chunk)
    module = randomised(Relation(CHANNELS, HEADS, position, key_prior)).double()
    (boxes, query), (key_boxes, keys) = region_pair(N, 1), region_pair(M, 2)
    with torch.no_grad():
        mixed = module(query, keys, boxes, key_boxes)
    expected = naive_mega.relation(module, *(x[0].numpy() for x in (query, keys, boxes, key_boxes)))
    np.testing.assert_allclose(mixed[0].numpy(), expected, atol=1e-10)


def test_boxes_without_width_leave_all_numbers_finite():
    module = randomised(Relation(CHANNELS, HEADS)).double()
    (boxes, query), (key_boxes, keys) = region_pair(N, 1), region_pair(M, 2)
    boxes[0, 0, 2] = boxes[0, 0, 0] - 1  # a width of 0 when both border pixels count
    key_boxes[0, 3, 3] = key_boxes[0, 3, 1] - 1
    assert module(query, keys, boxes, key_boxes).isfinite().all()


@pytest.mark.parametrize('absent', [slice(6, None), slice(0, 6)], ids=['last', 'first'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_padding_counts_for_nothing_in_any_frame_of_a_batch(absent, dtype):
    module = randomised(Relation(CHANNELS, HEADS)).to(dtype)
    frames = [(*region_pair(N, seed), *region_pair(M, seed + 1)) for seed in (1, 3)]
    frames = [(q.to(dtype), k.to(dtype), b, kb) for b, q, kb, k in frames]
    valid = torch.ones(2, M, dtype=torch.bool)
    valid[1, absent] = False
    mixed = module(*(torch.cat(x) for x in zip(*frames, strict=True)), valid)
    near = 1e-5 if dtype == torch.float32 else 0.02
    for i, (q, k, b, kb) in enumerate(frames):
        alone = module(q, k[:, valid[i]], b, kb[:, valid[i]])
        torch.testing.assert_close(mixed[i : i + 1], alone, atol=near, rtol=near)


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        (MegaAggregator, dict(stages=1), 'MegaAggregator has'),
        (RDNAggregator, dict(advanced_stages=-1), 'RDNAggregator has'),
        (SelsaAggregator, dict(num_attention_blocks=16), 'no multiple'),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, arguments, message):
    with pytest.raises(ConfigError, match=message):
        kind(CHANNELS, **arguments)
