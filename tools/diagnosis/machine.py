"""Processors, memory, disks, GPUs, and whether the operations of torchvision work on them."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diagnosis.finding import FAULT, NOTE, OFF, OK, Finding

LOW_DISK_GB = 5  # a training of ResNet-101 keeps several checkpoints of about half a GB
LOW_SHM_GB = 1
GET_TORCH = 'install the PyTorch build for your driver: https://pytorch.org/get-started/locally'


def check_system() -> Iterator[Finding]:
    yield Finding('system', f'{platform.system()} {platform.release()}, {platform.machine()}')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9
    yield Finding('CPU', f'{cores} of {os.cpu_count()} cores usable, {memory:.1f} GB of memory')


def check_disk() -> Iterator[Finding]:
    folder = Path('work_dirs').resolve()
    free = shutil.disk_usage(existing(folder)).free / 1e9
    shown = f'{folder}: {free:.1f} GB free'
    if not is_writable(folder):
        shown = f'{folder} cannot be written'
        yield Finding('work_dirs', shown, NOTE, 'train with --work-dir DIR')
    elif free < LOW_DISK_GB:
        yield Finding('work_dirs', shown, NOTE, 'free some, or train with --work-dir DIR')
    else:
        yield Finding('work_dirs', shown)
    shared = Path('/dev/shm')
    if shared.is_dir() and shutil.disk_usage(shared).total < LOW_SHM_GB * 1e9:
        size = shutil.disk_usage(shared).total / 1e6
        what = f'{size:.0f} MB: room for few data workers, so loading is slow'
        yield Finding('/dev/shm', what, NOTE, 'docker run --shm-size=8g ...')


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def is_writable(folder: Path) -> bool:
    """Tried by writing, since rights and read-only disks cannot be told otherwise."""
    try:
        with tempfile.TemporaryFile(dir=existing(folder)) as file:
            file.write(b'x')
    except OSError:
        return False
    return True


def check_gpus() -> Iterator[Finding]:
    import torch

    driver = driver_version()
    build = f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPU only'
    if getattr(torch.version, 'hip', None):
        build = f'ROCm {torch.version.hip}'
    yield Finding('PyTorch build', f'{build}; driver {driver or "none"}')
    if not torch.cuda.is_available():
        if driver:
            what = f'torch {torch.__version__} cannot use it ({build}, driver {driver})'
            yield Finding('GPU', what, NOTE, GET_TORCH)
        else:
            yield Finding('GPU', 'none: training and testing run on the CPU, slowly', OFF)
        return
    for i in range(torch.cuda.device_count()):
        free, total = (size / 1e9 for size in torch.cuda.mem_get_info(i))
        capability = '.'.join(map(str, torch.cuda.get_device_capability(i)))
        name = torch.cuda.get_device_name(i)
        what = f'{name}, {free:.1f} of {total:.1f} GB free, compute capability {capability}'
        yield Finding(f'GPU {i}', what)


def driver_version() -> str:
    """Of the NVIDIA kernel module, '' where there is none."""
    path = Path('/proc/driver/nvidia/version')
    if not path.is_file():
        return ''
    words = path.read_text().split()
    return next((w for w in words if w[0].isdigit() and '.' in w), 'of unknown version')


def check_precision() -> Iterator[Finding]:
    """What --amp can be, tried with one multiplication."""
    import torch

    gpu = torch.cuda.is_available()
    device = 'cuda' if gpu else 'cpu'
    for name, dtype in (('bf16', torch.bfloat16), ('fp16', torch.float16)):
        if name == 'fp16' and not gpu:
            yield Finding('--amp fp16', 'needs a GPU', OFF)
            continue
        with torch.autocast(device, dtype=dtype):
            ones = torch.ones(8, 8, device=device)
            product = ones @ ones
        works = product.dtype == dtype and bool((product.float() == 8).all())
        emulated = gpu and name == 'bf16' and torch.cuda.get_device_capability() < (8, 0)
        slow = ', but this GPU has no units for it: fp16 is faster' if emulated else ''
        what = f'works on the {device.replace("cuda", "GPU").replace("cpu", "CPU")}{slow}'
        yield Finding(
            f'--amp {name}', what if works else 'gives wrong numbers', OK if works else NOTE
        )


def check_ops() -> Iterator[Finding]:
    """NMS and RoIAlign on cases with known answers."""
    import torch

    for device in ['cpu'] + ['cuda'] * torch.cuda.is_available():
        for name, wrong in (('nms', wrong_nms), ('roi_align', wrong_roi_align)):
            what = wrong(device)
            advice = 'pip install --upgrade --force-reinstall torch torchvision'
            yield (
                Finding(f'{name} ({device})', what, FAULT, advice)
                if what
                else Finding(f'{name} ({device})', 'works')
            )


def wrong_nms(device: str) -> str:
    """Two boxes that overlap by 0.68 and one apart: the weaker of the two goes. '' if so."""
    import torch

    try:
        from torchvision.ops import nms

        boxes = [[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]]
        boxes = torch.tensor(boxes, dtype=torch.float32, device=device)
        scores = torch.tensor([0.6, 0.9, 0.3], device=device)
        kept = nms(boxes, scores, 0.5).tolist()
    except Exception as error:
        return f'fails: {error}'
    return '' if kept == [1, 2] else f'keeps the boxes {kept} instead of [1, 2]'


def wrong_roi_align(device: str) -> str:
    """On an image whose value is x + 10 y, a bin holds that of its centre. '' if so."""
    import torch

    try:
        from torchvision.ops import roi_align

        y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing='ij')
        image = (x + 10 * y)[None, None].to(device)
        roi = torch.tensor([[0.0, 2, 2, 6, 6]], device=device)
        bins = roi_align(image, roi, output_size=2, sampling_ratio=2, aligned=True).cpu()
    except Exception as error:
        return f'fails: {error}'
    # centres at 3 and 5, minus half a pixel, since pixel k covers k to k + 1
    expected = torch.tensor([[27.5, 29.5], [47.5, 49.5]])
    return '' if torch.allclose(bins[0, 0], expected) else f'gives {bins.flatten().tolist()}'
