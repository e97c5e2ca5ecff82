"""One thread: tiny tensors gain nothing from more, and forked processes have no more."""

import pytest
import torch


@pytest.fixture(scope='package', autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # autograd starts the threads it will ever have now: after torch.compile they would be some,
    # and a forked process could not train
    torch.ones(1, requires_grad=True).sum().backward()
    yield
    torch.set_num_threads(threads)
