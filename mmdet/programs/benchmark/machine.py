"""On what a benchmark ran."""

import os
import platform
from pathlib import Path


def describe_machine() -> str:
    """CPU, cores, threads, GPU and versions, in two or three lines."""
    import numpy as np
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    lines = [f'{_cpu()}, {cores} cores usable, torch uses {torch.get_num_threads()} threads']
    if torch.cuda.is_available():
        lines.append(f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}')
    versions = f'torch {torch.__version__}, numpy {np.__version__}'
    return '\n'.join([*lines, f'{versions}, Python {platform.python_version()}'])


def _cpu() -> str:
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
