"""What each launcher's environment becomes; the group itself is tested with real processes."""

import os
import time

import pytest
import torch

from mmdet.engine import dist

NAMES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
SLURM = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4', 'SLURM_NODELIST': 'gpu[07-08]'}
MPI = {
    'OMPI_COMM_WORLD_RANK': '1',
    'OMPI_COMM_WORLD_SIZE': '2',
    'OMPI_COMM_WORLD_LOCAL_RANK': '1',
}


@pytest.fixture
def started(monkeypatch):
    """The arguments that the process group is started with; a clean environment."""
    calls = []
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kw: calls.append(kw))
    for name in (*NAMES, *SLURM, *MPI, 'SLURM_LOCALID'):
        monkeypatch.setenv(name, 'x')  # so that it is put back
        monkeypatch.delenv(name)
    return calls


def test_slurm(started, monkeypatch):
    for name, value in {**SLURM, 'SLURM_LOCALID': '1'}.items():
        monkeypatch.setenv(name, value)
    dist.init_dist('slurm', timeout_s=60, use_gpu=False)
    assert [os.environ[name] for name in NAMES] == ['3', '4', '1', 'gpu07', '29500']
    assert started[0]['backend'] == 'gloo' and started[0]['timeout'].total_seconds() == 60


def test_mpi_keeps_an_address_that_is_given(started, monkeypatch):
    for name, value in {**MPI, 'MASTER_ADDR': 'head', 'MASTER_PORT': '1'}.items():
        monkeypatch.setenv(name, value)
    dist.init_dist('mpi', use_gpu=False)
    assert [os.environ[name] for name in NAMES] == ['1', '2', '1', 'head', '1']


@pytest.mark.parametrize(
    ('launcher', 'names'),
    [('pytorch', ['RANK', 'torchrun']), ('slurm', ['SLURM_PROCID', 'srun']), ('mpi', ['mpirun'])],
)
def test_without_its_environment_a_launcher_says_what_is_needed(started, launcher, names):
    with pytest.raises(dist.LaunchError) as caught:
        dist.init_dist(launcher)
    assert all(name in str(caught.value) for name in [*names, '--launcher'])


BY_HAND = {'RANK': '0', 'WORLD_SIZE': '2', 'LOCAL_RANK': '0', 'MASTER_PORT': '77'}


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({}, r'Rank 0 of 2 has not met the others at 127\.0\.0\.1:77 \(1/2 joined\)\. Start all 2'),
        ({'RANK': '2'}, 'RANK is 2, but WORLD_SIZE is 2'),
        ({'WORLD_SIZE': 'two'}, "WORLD_SIZE is 'two': it must be a whole number"),
    ],
)
def test_ranks_that_are_started_by_hand_and_do_not_meet(
    started, monkeypatch, capsys, changes, said
):
    def wait(**_):
        deadline = time.monotonic() + 60
        while 'waits' not in shown[0] and time.monotonic() < deadline:
            shown[0] += capsys.readouterr().err
        raise torch.distributed.DistStoreError('1/2 joined')

    shown = ['']
    monkeypatch.setattr(torch.distributed, 'init_process_group', wait)
    monkeypatch.setattr(dist, 'ANNOUNCED_S', 0)
    for name, value in {**BY_HAND, **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(dist.LaunchError, match=said):
        dist.init_dist('pytorch', use_gpu=False)
    assert changes or 'Rank 0 of 2 waits for the others at 127.0.0.1:77. Start all' in shown[0]


def test_an_unknown_launcher(started):
    with pytest.raises(ValueError, match='Legal: none, pytorch, slurm, mpi'):
        dist.init_dist('ray')


@pytest.mark.parametrize(
    ('cfg', 'seconds'),
    [({'env_cfg': {'dist_cfg': {'timeout': 90}}}, 90), ({'env_cfg': {}}, 3600), ({}, 3600)],
)
def test_the_timeout_is_that_of_the_config(cfg, seconds):
    assert dist.dist_timeout(cfg) == seconds


def test_none_starts_nothing(started):
    dist.init_dist('none')
    assert started == []


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(dist.LaunchError, match=r'finds only 2 GPU\(s\)'):
        dist._select_gpu(2)


@pytest.mark.parametrize(
    ('nodes', 'first'),
    [
        ('gpu1', 'gpu1'),
        ('gpu1,gpu2', 'gpu1'),
        ('gpu[01-04,07]', 'gpu01'),
        ('gpu[3,5],cpu1', 'gpu3'),
        ('rack2-n[10-12]-ib', 'rack2-n10-ib'),
    ],
)
def test_the_first_host_of_a_slurm_list(nodes, first):
    assert dist._first_host(nodes) == first
