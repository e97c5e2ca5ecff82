"""What each launcher's environment becomes; the group itself is tested with real processes."""

import os

import pytest
import torch

from mmdet.core.errors import LaunchError
from mmdet.engine import dist

NAMES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
BY_HAND = {'RANK': '0', 'WORLD_SIZE': '2', 'LOCAL_RANK': '0', 'MASTER_PORT': '77'}
SLURM = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4', 'SLURM_NODELIST': 'gpu[07-08]'}
ON_NODE = {**SLURM, 'SLURM_LOCALID': '1'}
MPI = {f'OMPI_COMM_WORLD_{name}': n for name, n in (('RANK', 1), ('SIZE', 2), ('LOCAL_RANK', 1))}
HEAD = {'MASTER_ADDR': 'head', 'MASTER_PORT': '1'}


def hosts(nodes):
    return SLURM | {'SLURM_NODELIST': nodes}


@pytest.fixture
def start(monkeypatch):
    """Starts a launcher in an otherwise clean environment; the arguments of the process group."""
    calls = []
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kw: calls.append(kw))

    def run(launcher, environment, use_gpu=False):
        for name in (*NAMES, *ON_NODE, *MPI):
            monkeypatch.setenv(name, 'x')  # so that it is put back
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        dist.init_dist(launcher, timeout_s=60, use_gpu=use_gpu)
        return calls

    return run


@pytest.mark.parametrize(
    ('launcher', 'environment', 'expected'),
    [
        ('pytorch', BY_HAND, '0 2 0 127.0.0.1 77'),
        ('slurm', ON_NODE, '3 4 1 gpu07 29500'),
        ('slurm', hosts('gpu[3,5],cpu1') | HEAD, '3 4 0 head 1'),
        ('mpi', MPI | HEAD, '1 2 1 head 1'),
    ],
)
def test_what_an_environment_becomes(start, launcher, environment, expected):
    (call,) = start(launcher, environment)
    assert ' '.join(os.environ[name] for name in NAMES) == expected
    assert call['backend'] == 'gloo' and call['timeout'].total_seconds() == 60


@pytest.mark.parametrize(
    ('launcher', 'environment', 'said'),
    [
        ('pytorch', {}, '--launcher pytorch.* RANK.*torchrun'),
        ('mpi', {}, '--launcher mpi.* OMPI.*mpirun'),
        ('pytorch', BY_HAND | {'RANK': '2'}, 'RANK is 2, but WORLD_SIZE is 2'),
        ('pytorch', BY_HAND | {'WORLD_SIZE': 'two'}, "WORLD_SIZE is 'two': it must be a whole"),
    ],
)
def test_an_environment_that_does_not_suffice(start, launcher, environment, said):
    with pytest.raises(LaunchError, match=said):
        start(launcher, environment)
