"""The counter of host waits sees them, so that tests which count none can fail."""

import pytest
import torch
from host_waits import CountHostWaits


@pytest.mark.parametrize(
    ('wait', 'kind'),
    [
        (lambda x: x.sum().item(), '_local_scalar_dense'),
        (lambda x: bool((x > 0).any()), '_local_scalar_dense'),
        (lambda x: x[x > 0], 'index by a mask'),
        (lambda x: x.masked_select(x > 0), 'masked_select'),
        (lambda x: (x > 0).nonzero(), 'nonzero'),
        (lambda x: x * torch.tensor([1.0, 2.0]), 'lift_fresh'),
        (lambda x: x[torch.arange(2)].topk(1).values * 3, None),
    ],
)
def test_the_counter_sees_every_kind_of_wait(wait, kind):
    with CountHostWaits() as counter:
        wait(torch.ones(2))
    assert set(+counter.waits) == ({kind} if kind else set())
