"""How time and memory are measured, how that is printed, and on what it ran."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

# what the host does for a GPU, by the names that the profiler shows
LAUNCHES = ('cudaLaunchKernel', 'cuLaunchKernel', 'cudaLaunchKernelExC', 'cudaGraphLaunch')
WAITS = ('cudaStreamSynchronize', 'cudaDeviceSynchronize', 'cudaEventSynchronize')


def describe_machine() -> str:
    """CPU, cores, threads, GPU and versions, in two or three lines."""
    import numpy as np

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    lines = [f'{_cpu()}, {cores} cores usable, torch uses {torch.get_num_threads()} threads']
    if torch.cuda.is_available():
        lines.append(f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}')
    versions = f'torch {torch.__version__}, numpy {np.__version__}'
    return '\n'.join([*lines, f'{versions}, Python {platform.python_version()}'])


def _cpu() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


class Clock:
    """Milliseconds since it was made: of the GPU, where there is one."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == 'cuda'
        if self.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.start = self.now()

    def now(self) -> 'torch.cuda.Event | float':
        """A mark: on a GPU in the order of its work, without waiting."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, begin, end) -> float:
        """Milliseconds from one mark to another."""
        if not self.on_gpu:
            return (end - begin) * 1e3
        end.synchronize()
        return begin.elapsed_time(end)

    def ms(self) -> float:
        return self.between(self.start, self.now())

    def peak_mb(self) -> float:
        """Of the GPU since the clock was made; 0 without one."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.on_gpu else 0.0


class Marks:
    """Notes when functions begin and end."""

    def __init__(self, device: torch.device) -> None:
        self.clock = Clock(device)
        self.spans: dict[str, list[tuple]] = {}

    def wrap(self, stage: str, function: Callable) -> Callable:
        """The function, whose calls belong to a stage."""

        def marked(*args, **kwargs):
            begin = self.clock.now()
            result = function(*args, **kwargs)
            self.spans.setdefault(stage, []).append((begin, self.clock.now()))
            return result

        return marked

    def ms(self) -> dict[str, list[float]]:
        """Of each call, by stage."""
        return {s: [self.clock.between(*span) for span in v] for s, v in self.spans.items()}


def median_seconds(
    function: Callable[[], object], repeats: int, warm_up: int = 1
) -> tuple[float, float]:
    """Wall and CPU time of a call; CPU time is what other programs disturb less."""
    walls, cpus = [], []
    for _ in range(warm_up + repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls[warm_up:]), statistics.median(cpus[warm_up:])


def host_work(function: Callable[[], object], device: torch.device) -> tuple[int, int]:
    """Launches of a call, and how often the host waits in it for the GPU."""
    if device.type != 'cuda':
        return 0, 0
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        function()
    counts = {event.key: event.count for event in profiler.key_averages()}
    waits = sum(counts.get(name, 0) for name in WAITS) - 1  # the profiler's own, when it ends
    return sum(counts.get(name, 0) for name in LAUNCHES), max(waits, 0)


def resident_peak_mb() -> float:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kB on Linux


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, justify='right' if i else 'left')
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
