"""References that do not exist. The attention itself is written out in naive_stpn_selsa.py."""

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


def test_references_that_do_not_exist_are_not_seen(aggregator):
    query, refs = rows(3, 3), rows(3, 5, seed=2)
    valid = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    refs[~valid] = 1e3
    found = aggregator(query, refs, valid)
    for i in (0, 2):
        (expected,) = aggregator(query[i : i + 1], refs[i : i + 1, valid[i]])
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
