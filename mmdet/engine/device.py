"""Where the model of a process lives, and how PyTorch's GPU libraries compute: TensorFloat-32,
cuDNN's algorithms, determinism."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mmdet.core.checkpoint_file import local_rank
from mmdet.core.errors import ConfigError
from mmdet.engine.config_check import typed_dicts


def choose_device(name: str | None = None, launcher: str = 'none') -> torch.device:
    """The device that `name` means for this process.

    Args:
        name: 'cpu', 'cuda', 'cuda:1'; the GPU where there is one when None.
        launcher: with one, every process has the GPU of its number on the node.
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
                f'Omit it: each takes the GPU of its number on the node. '
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


@dataclass(frozen=True)
class Backends:
    """Settings of `env_cfg` for a GPU."""

    # float32 convolutions and matrix products round their inputs to 10 bits of mantissa: on one
    # H200 0.6 of the time (MAMBA R-101: 21.8 against 37.4 ms per frame); no effect on `--amp`
    tf32: bool
    # cuDNN tries its algorithms at the first frame of every size: good where sizes stay the same,
    # as in testing, bad where each batch has another
    cudnn_benchmark: bool

    @classmethod
    def of(cls, env_cfg: Mapping | None, testing: bool, deterministic: bool = False) -> 'Backends':
        """Those that a config asks for; absent: TF32, and cudnn_benchmark in testing."""
        given = env_cfg or {}
        for key in ('tf32', 'cudnn_benchmark'):
            if given.get(key) not in (None, True, False):
                raise ConfigError(f'env_cfg.{key} must be True or False, not {given[key]!r}.')
        tf32, benchmark = given.get('tf32'), given.get('cudnn_benchmark')
        benchmark = testing if benchmark is None else benchmark
        return cls(tf32 is not False, bool(benchmark) and not deterministic)

    def apply(self, device: torch.device) -> None:
        """Set them for this process; does nothing for a CPU."""
        if device.type != 'cuda':
            return
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        torch.backends.cudnn.allow_tf32 = self.tf32
        torch.backends.cudnn.benchmark = self.cudnn_benchmark

    def __str__(self) -> str:
        tf32, benchmark = ('on' if on else 'off' for on in (self.tf32, self.cudnn_benchmark))
        return f'TF32 {tf32}, cuDNN benchmark {benchmark}'


def check_deterministic(model: Mapping, device: torch.device) -> None:
    """Refuse what has no usable deterministic form on a GPU: torchvision's deterministic RoIAlign
    takes as many samples per bin as the whole map has pixels where their number is not fixed."""
    if device.type != 'cuda':
        return
    for path, layer in typed_dicts(model, ('model',)):
        if path[-1] == 'roi_layer' and not layer.get('sampling_ratio', 0):
            key = f'{".".join(path)}.sampling_ratio'
            raise ConfigError(
                f'--deterministic on a GPU needs RoIAlign with a fixed number of samples, but '
                f'`{key}` is 0 (their number adapts), which would take minutes or all memory: '
                f'give --cfg-options {key}=2, which changes the features a little, or '
                f'omit --deterministic.'
            )
