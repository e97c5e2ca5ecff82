"""The attention of SELSA and MAMBA against explicit loops."""

import pytest
import torch

from mmdet.models.aggregators import SelsaAggregator

HEADS, CHANNELS = 4, 32


@pytest.fixture
def aggregator() -> SelsaAggregator:
    torch.manual_seed(0)
    return SelsaAggregator(CHANNELS, HEADS).double()


def rows(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, CHANNELS, generator=torch.Generator().manual_seed(seed)).double()


def looped(aggregator: SelsaAggregator, query: torch.Tensor, refs: torch.Tensor) -> torch.Tensor:
    """One frame: `query` [N, C], `refs` [M, C]."""
    q, k = aggregator.fc_embed(query), aggregator.ref_fc_embed(refs)
    v, d = aggregator.ref_fc(refs), CHANNELS // HEADS
    mixed = torch.zeros_like(q)
    for head in range(HEADS):
        part = slice(head * d, (head + 1) * d)
        for n in range(len(query)):
            logits = torch.stack([q[n, part] @ k[m, part] / d**0.5 for m in range(len(refs))])
            weights = logits.exp() / logits.exp().sum()
            mixed[n, part] = sum(w * v[m, part] for m, w in enumerate(weights))
    return aggregator.fc(mixed)


def test_equals_a_loop_over_frames_heads_and_rows(aggregator):
    query, refs = rows(2, 3), rows(2, 5, seed=2)
    expected = torch.stack([looped(aggregator, *pair) for pair in zip(query, refs, strict=True)])
    torch.testing.assert_close(aggregator(query, refs), expected, atol=1e-12, rtol=0)


def test_references_that_do_not_exist_are_not_seen(aggregator):
    query, refs = rows(3, 3), rows(3, 5, seed=2)
    valid = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    refs[~valid] = 1e3
    found = aggregator(query, refs, valid)
    for i in (0, 2):
        expected = looped(aggregator, query[i], refs[i, valid[i]])
        torch.testing.assert_close(found[i], expected, atol=1e-12, rtol=0)
    assert torch.equal(found[1], torch.zeros(3, CHANNELS).double())


def test_without_references_every_parameter_has_a_gradient_of_zero(aggregator):
    """Otherwise a rank without any would stop distributed training."""
    query = rows(1, 3).requires_grad_()
    mixed = aggregator(query, rows(1, 4, seed=2), torch.zeros(1, 4, dtype=torch.bool))
    (query + mixed).pow(2).sum().backward()
    assert all((p.grad == 0).all() for p in aggregator.parameters())
    torch.testing.assert_close(query.grad, 2 * query.detach())


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match='no multiple'):
        SelsaAggregator(30, 16)
