"""On what a benchmark ran, and how long something takes."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path


def machine() -> str:
    """CPU, threads, GPU and versions, one line each."""
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


def median_seconds(function: Callable[[], object], repeats: int, warmup: int = 1) -> float:
    """Median wall time of calls after `warmup` calls that do not count."""
    times = []
    for call in range(warmup + repeats):
        start = time.perf_counter()
        function()
        if call >= warmup:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kB on Linux
