"""The counter of host waits sees them, so that tests which count none can fail."""

import pytest
import torch
from host_waits import CountHostWaits


@pytest.mark.parametrize(
    ('wait', 'kind'),
    [
        (lambda x: x.sum().item(), '_local_scalar_dense'),
        (lambda x: float(x[0]), '_local_scalar_dense'),
        (lambda x: bool((x > 0).any()), '_local_scalar_dense'),
        (lambda x: x[x > 0], 'index by a mask'),
        (lambda x: x.masked_select(x > 0), 'masked_select'),
        (lambda x: (x > 0).nonzero(), 'nonzero'),
        (lambda x: x * torch.tensor([1.0, 2.0]), 'lift_fresh'),
        (lambda x: x.new_tensor([1.0]), 'lift_fresh'),
    ],
)
def test_the_counter_sees_every_kind_of_wait(wait, kind):
    x = torch.ones(2)
    with CountHostWaits() as counter:
        wait(x)
    assert counter.waits[kind] >= 1
    with CountHostWaits() as counter:
        x[torch.arange(2)].topk(1).values * 3
    assert counter.total == 0
