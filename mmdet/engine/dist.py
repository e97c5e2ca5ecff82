"""Starting the process group: NCCL on GPUs, gloo on machines without.

mmengine's own start-up calls `torch.cuda.set_device` even where there is no CUDA; a Runner that
finds the group initialised leaves it alone, so this runs first.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as torch_dist

from mmdet.core.errors import LaunchError
from mmdet.engine.watchdog import DEATH_S, PERIOD_S, SILENCE_S, Watchdog
from mmdet.evaluation.gather import cpu_group

NAMES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
LAUNCHERS = {  # what starts the processes, and its names for these; of slurm's nodes instead
    'none': ('', ()),
    'pytorch': ('torchrun (tools/dist_*.sh)', NAMES),
    'slurm': ('srun', ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')),
    'mpi': ('mpirun (Open MPI)', [f'OMPI_COMM_WORLD_{n.removeprefix("WORLD_")}' for n in NAMES]),
}
DEFAULT_PORT = '29500'
FIRST_HOST = re.compile(r'([^\[,]*)(?:\[([^\],-]+)[^\]]*\])?([^\[,]*)')
# Rank 0 scores a whole validation set while the others wait: NCCL's 10 minutes are too few.
TIMEOUT_S = 3600
ANNOUNCED_S = 30  # of waiting for the ranks to meet
NAMED_AFTER_S = DEATH_S + 5 * PERIOD_S  # the watchdog has named a rank that died by then
BROKEN_LINK = re.compile(r'Connection (closed|reset)|[Bb]roken pipe|remote (process|worker)')
_watchdog: Watchdog | None = None  # of this process


def init_dist(
    launcher: str,
    timeout_s: int = TIMEOUT_S,
    use_gpu: bool = True,
    silence_s: float = SILENCE_S,
) -> None:
    """Join the process group that the launcher describes in the environment.

    Fills in RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT where the launcher uses names
    of its own, and selects this process's GPU. Does nothing for 'none' or when the group exists.

    Args:
        launcher: 'none', 'pytorch' (torchrun), 'slurm' (srun) or 'mpi' (mpirun of Open MPI).
        timeout_s: how long a rank waits for another before the run is stopped, in seconds.
        use_gpu: False runs on the CPU although there are GPUs.
        silence_s: after how many seconds a rank that does not answer ends the run with its name.
    """
    if launcher not in LAUNCHERS:
        raise ValueError(f'Unknown launcher {launcher!r}. Legal: {", ".join(LAUNCHERS)}.')
    if launcher == 'none' or torch_dist.is_initialized():
        return
    _fill_environment(launcher)
    use_gpu = use_gpu and torch.cuda.is_available()
    if use_gpu:
        _select_gpu(int(os.environ['LOCAL_RANK']))
    with _announced_wait(timeout_s):
        torch_dist.init_process_group(
            backend='nccl' if use_gpu else 'gloo',
            timeout=timedelta(seconds=timeout_s),
        )
    if int(os.environ['WORLD_SIZE']) > 1 and torch_dist.is_initialized():
        global _watchdog
        _watchdog = Watchdog(silence_s)
        with cpu_group(timeout_s) as group:
            _watchdog.start(group)


@contextmanager
def _announced_wait(timeout_s: float) -> Iterator[None]:
    """Say what the ranks wait for while one is missing, as when they are started by hand."""
    rank, world = _number('RANK'), _number('WORLD_SIZE')
    if rank >= world:
        raise LaunchError(f'RANK is {rank}, but WORLD_SIZE is {world}: ranks are 0 to {world - 1}.')
    place = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
    check = (
        f'Start all {world} (RANK=0 to {world - 1}) with the same WORLD_SIZE, MASTER_ADDR and '
        f'MASTER_PORT; rank 0 runs on MASTER_ADDR, which the others must reach.'
    )
    waits = f'Rank {rank} of {world} waits for the others at {place}. {check}'
    timer = threading.Timer(ANNOUNCED_S, print, [waits], {'file': sys.stderr, 'flush': True})
    timer.daemon = True
    timer.start()
    try:
        yield
    except (RuntimeError, ValueError) as error:  # torch's own are RuntimeErrors
        said = str(error).splitlines()[0]
        raise LaunchError(
            f'Rank {rank} of {world} has not met the others at {place} ({said}). {check}'
        ) from error
    finally:
        timer.cancel()


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise LaunchError(f'{name} is {text!r}: it must be a whole number.')
    return int(text)


def about_ranks(error: RuntimeError) -> str:
    """What became of the rank whose connection broke; empty if the error is about another thing.

    The watchdog knows which rank it was, and ends this process with its name, a moment later.
    """
    if _watchdog is None or not BROKEN_LINK.search(str(error)):
        return ''
    time.sleep(NAMED_AFTER_S)
    return f'Another rank has ended or lost its connection: its own output says why ({error}).'


def dist_timeout(cfg: Mapping) -> int:
    """How long a rank waits for another, in seconds: `env_cfg.dist_cfg.timeout` of a config."""
    return _dist_cfg(cfg).get('timeout', TIMEOUT_S)


def dist_silence(cfg: Mapping) -> float:
    """After how many seconds a silent rank ends the run: `env_cfg.dist_cfg.silence`."""
    return _dist_cfg(cfg).get('silence', SILENCE_S)


def _dist_cfg(cfg: Mapping) -> Mapping:
    return (cfg.get('env_cfg') or {}).get('dist_cfg') or {}


def end_dist() -> None:
    """Leave the process group, so that the processes of a finished run end without warnings."""
    global _watchdog
    if _watchdog is not None:
        _watchdog.stop(failed=sys.exc_info()[0] is not None)
        _watchdog = None
    if torch_dist.is_available() and torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def _select_gpu(local: int) -> None:
    gpus = torch.cuda.device_count()
    if local >= gpus:
        raise LaunchError(
            f'Process {local} of this node finds only {gpus} GPU(s). Start at most {gpus} '
            f'process(es) per node, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to run on the CPU.'
        )
    torch.cuda.set_device(local)


def _fill_environment(launcher: str) -> None:
    """RANK and the like, from the launcher's own names."""
    how, names = LAUNCHERS[launcher]
    absent = [name for name in names if name not in os.environ]
    if absent:
        raise LaunchError(
            f'--launcher {launcher} needs the environment variable(s) {", ".join(absent)}, '
            f'which {how} sets. Start the command with it, or omit --launcher.'
        )
    rank, size, local = (os.environ[name] for name in names)
    if launcher == 'slurm':
        # the first host of a node list such as 'gpu[01-04,07],cpu1'
        os.environ.setdefault('MASTER_ADDR', ''.join(FIRST_HOST.match(local).groups(default='')))
        by_count = str(int(rank) % max(torch.cuda.device_count(), 1))
        local = os.environ.get('SLURM_LOCALID') or by_count
    os.environ.update(RANK=rank, WORLD_SIZE=size, LOCAL_RANK=local)
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', DEFAULT_PORT)
