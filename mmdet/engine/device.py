"""Where the model of a process lives."""

import torch

from mmdet.core.checkpoint_file import local_rank
from mmdet.core.errors import ConfigError


def choose_device(name: str | None = None, launcher: str = 'none') -> torch.device:
    """The device that `name` means for this process.

    Args:
        name: 'cpu', 'cuda', 'cuda:1'; the GPU where there is one when None.
        launcher: with one, every process has the GPU of its number on the node.

    Raises:
        ConfigError: there is no such GPU, or one GPU is named for several processes.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None and not count:
        return torch.device('cpu')
    try:
        device = torch.device(name or 'cuda')
    except RuntimeError as error:
        raise ConfigError(f'--device {name}: no such device. Legal: cpu, cuda, cuda:N.') from error
    if device.type != 'cuda':
        return device
    if not count:
        raise ConfigError(
            f'--device {name}: PyTorch finds no GPU here. `python tools/doctor.py` says why; '
            f'--device cpu, or no --device, runs on the CPU.'
        )
    if launcher != 'none':
        if device.index is not None:
            raise ConfigError(
                f'--device {name} with --launcher {launcher} would put all processes on one GPU. '
                f'Leave it away: each takes the GPU of its number on the node. '
                f'CUDA_VISIBLE_DEVICES={device.index} says which GPUs there are.'
            )
        return torch.device('cuda', local_rank())
    index = device.index or 0
    if index >= count:
        raise ConfigError(f'--device {name}: there are {count} GPU(s), cuda:0 to cuda:{count - 1}.')
    return torch.device('cuda', index)


def make_current(device: torch.device) -> None:
    """Let everything that names no GPU mean this one: generators, memory statistics, streams."""
    if device.type == 'cuda':
        torch.cuda.set_device(device)
