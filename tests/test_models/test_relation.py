"""Relation against its literal form, and what must leave it unchanged."""

import math

import naive_relation
import numpy as np
import pytest
import torch

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators import Relation
from mmdet.models.aggregators import relation as relation_module
from mmdet.models.aggregators.box_relation import BOX_CHANNELS, box_relation

CHANNELS, HEADS, N, M = 24, 4, 7, 11
KINDS = [(True, True), (True, False), (False, True), (False, False)]


def make(position: bool = True, key_prior: bool = True) -> Relation:
    torch.manual_seed(0)
    module = Relation(CHANNELS, HEADS, position, key_prior)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return module


def regions(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [1, number, C] and boxes [1, number, 4]."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 300, (1, number, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 200, (1, number, 2))], 2)
    return torch.tensor(rng.normal(0, 1, (1, number, CHANNELS))).float(), torch.tensor(boxes)


@pytest.mark.parametrize(('position', 'key_prior'), KINDS)
@pytest.mark.parametrize('chunk', [3, 128])
def test_equals_a_literal_loop(position, key_prior, chunk, monkeypatch):
    monkeypatch.setattr(relation_module, 'QUERY_CHUNK', chunk)
    module = make(position, key_prior).double()
    inputs = [x.double() for x in (*regions(N, 1), *regions(M, 2))]
    query, boxes, keys, key_boxes = inputs
    with torch.no_grad():
        mixed = module(query, keys, boxes, key_boxes)
    expected = naive_relation.relation(
        module, *(x[0].numpy() for x in (query, keys, boxes, key_boxes))
    )
    np.testing.assert_allclose(mixed[0].numpy(), expected, atol=1e-10)


def test_float32_stays_near_float64():
    module = make()
    (query, boxes), (keys, key_boxes) = regions(N, 1), regions(M, 2)
    mixed = module(query, keys, boxes.float(), key_boxes.float())
    exact = module.double()(query.double(), keys.double(), boxes, key_boxes)
    assert (mixed - exact).abs().max() < 2e-3 * exact.abs().max()


def embedding(boxes: torch.Tensor, key_boxes: torch.Tensor) -> torch.Tensor:
    """[N, M, 64]: a linear layer that passes every channel on shows it."""
    weight = torch.eye(BOX_CHANNELS, dtype=boxes.dtype)
    return box_relation(boxes, key_boxes, weight, torch.zeros(BOX_CHANNELS))[0].permute(1, 2, 0)


def test_embedding_equals_a_literal_loop():
    boxes, key_boxes = regions(N, 1)[1], regions(M, 2)[1]
    found = embedding(boxes, key_boxes)
    assert found.shape == (N, M, BOX_CHANNELS)
    for n in range(N):
        for m in range(M):
            expected = naive_relation.embedding(boxes[0, n].numpy(), key_boxes[0, m].numpy())
            np.testing.assert_allclose(found[n, m].numpy(), expected, atol=1e-10)


def test_a_query_twice_as_wide_fills_channels_32_to_47():
    query, key = torch.tensor([[[0.0, 0, 19, 9]]]), torch.tensor([[[0.0, 0, 9, 9]]])
    angles = [100 * math.log(2) / 1000 ** (k / 8) for k in range(8)]
    expected = [f(a) for f in (math.sin, math.cos) for a in angles]
    torch.testing.assert_close(
        embedding(query, key)[0, 0, 32:48], torch.tensor(expected), atol=1e-4, rtol=0
    )


def test_boxes_without_width_leave_all_numbers_finite():
    module = make()
    (query, boxes), (keys, key_boxes) = regions(N, 1), regions(M, 2)
    boxes[0, 0, 2] = boxes[0, 0, 0] - 1  # a width of 0 when both border pixels count
    key_boxes[0, 3, 3] = key_boxes[0, 3, 1] - 1
    assert module(query, keys, boxes, key_boxes).isfinite().all()


@pytest.mark.parametrize('position', [True, False])
def test_order_and_repetition_of_all_keys_do_not_matter(position):
    module = make(position)
    (query, boxes), (keys, key_boxes) = regions(N, 1), regions(M, 2)
    expected = module(query, keys, boxes, key_boxes)
    order = torch.randperm(M, generator=torch.Generator().manual_seed(0))
    shuffled = module(query, keys[:, order], boxes, key_boxes[:, order])
    torch.testing.assert_close(shuffled, expected, atol=1e-5, rtol=1e-5)
    twice = module(query, keys.repeat(1, 2, 1), boxes, key_boxes.repeat(1, 2, 1))
    torch.testing.assert_close(twice, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('position', [True, False])
@pytest.mark.parametrize('absent', [slice(6, None), slice(0, 6)], ids=['last', 'first'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_padding_counts_for_nothing_in_any_frame_of_a_batch(position, absent, dtype):
    module = make(position).to(dtype)
    parts = [(*regions(N, 1), *regions(M, 2)), (*regions(N, 3), *regions(M, 4))]
    parts = [(q.to(dtype), b, k.to(dtype), kb) for q, b, k, kb in parts]
    query, boxes, keys, key_boxes = (torch.cat(x) for x in zip(*parts, strict=True))
    valid = torch.ones(2, M, dtype=torch.bool)
    valid[1, absent] = False
    mixed = module(query, keys, boxes, key_boxes, valid)
    near = 1e-5 if dtype == torch.float32 else 0.02
    for i, (q, b, k, kb) in enumerate(parts):
        kept = valid[i]
        alone = module(q, k[:, kept], b, kb[:, kept])
        torch.testing.assert_close(mixed[i : i + 1], alone, atol=near, rtol=near)


def test_a_gate_of_one_leaves_plain_attention():
    module, plain = make(), make(position=False)
    with torch.no_grad():
        module.pos.weight.zero_()
        module.pos.bias.fill_(1)
        module.u.zero_()
        plain.load_state_dict({k: v for k, v in module.state_dict().items() if 'pos' not in k})
    (query, boxes), (keys, key_boxes) = regions(N, 1), regions(M, 2)
    torch.testing.assert_close(
        module(query, keys, boxes, key_boxes), plain(query, keys), atol=1e-5, rtol=1e-5
    )


def test_gradients_reach_every_weight_and_both_sides():
    module = make()
    (query, boxes), (keys, key_boxes) = regions(N, 1), regions(M, 2)
    query.requires_grad_()
    keys.requires_grad_()
    module(query, keys, boxes, key_boxes).square().sum().backward()
    for name, parameter in module.named_parameters():
        if name != 'k.bias':  # shifts all logits of a head alike
            assert parameter.grad.abs().max() > 1e-6, name
    assert query.grad.abs().max() > 1e-6 and keys.grad.abs().max() > 1e-6


def test_half_precision_stays_near():
    module, half = make(), make().bfloat16()
    (query, boxes), (keys, key_boxes) = regions(N, 1), regions(M, 2)
    expected = module(query, keys, boxes, key_boxes)
    mixed = half(query.bfloat16(), keys.bfloat16(), boxes, key_boxes)
    assert mixed.dtype == torch.bfloat16
    assert (mixed.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_heads_must_divide_the_channels():
    with pytest.raises(ConfigError, match='heads=5'):
        Relation(CHANNELS, 5)
