"""What is tried on this machine: GPUs, an operation of torchvision, our own code, a video."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from mmdet.programs.doctor.finding import FAULT, NOTE, OFF, OK, Finding, one_line
from mmdet.programs.doctor.packages import REPO

LOW_SHM_GB = 1
PARTS = ('models', 'datasets', 'evaluation', 'engine.runner', 'apis')
INSTALL = 'pip install -e .   (in this checkout)'
PAIR = 'pip install --upgrade --force-reinstall torch torchvision'


def check_system() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    yield Finding('system', f'{platform.platform()}, {cores} of {os.cpu_count()} cores usable')
    shared = Path('/dev/shm')
    if shared.is_dir() and shutil.disk_usage(shared).total < LOW_SHM_GB * 1e9:
        size = shutil.disk_usage(shared).total / 1e6
        what = f'{size:.0f} MB: room for few data workers, so loading is slow'
        yield Finding('/dev/shm', what, NOTE, 'docker run --shm-size=8g ...')


def check_namesake() -> Iterator[Finding]:
    """Which `mmdet` is imported: this package has the name of OpenMMLab's."""
    sys.modules.pop('mmdet', None)  # this process has it from the path of the command
    spec = importlib.util.find_spec('mmdet')
    folders = [Path(entry or '.').resolve() / 'mmdet' for entry in sys.path]
    version = ''
    try:
        namesake = metadata.distribution('mmdet')
        folders.append(Path(namesake.locate_file('mmdet')).resolve())
        version = f' (mmdet {namesake.version})'
    except metadata.PackageNotFoundError:
        pass
    found = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if found is None:
        yield Finding('mmdet', 'this package is not installed', FAULT, INSTALL)
    elif not is_vfe(found):
        what = f'`import mmdet` finds another package: {found}{version}; this one is {REPO}/mmdet'
        yield Finding('mmdet', what, FAULT, removal(found))
    elif found != REPO / 'mmdet':
        what = f'`import mmdet` finds {found}, not this checkout ({REPO})'
        yield Finding('mmdet', what, NOTE, INSTALL)
    else:
        yield Finding('mmdet', str(found))
    for other in dict.fromkeys(folders):
        if other != found and (other / '__init__.py').is_file() and not is_vfe(other):
            yield Finding('mmdet', f'another mmdet is there, too: {other}', NOTE, removal(other))


def is_vfe(folder: Path) -> bool:
    """Whether it is this package, of any version from 3 on."""
    text = (folder / '__init__.py').read_text(encoding='utf-8', errors='replace')
    return 'vfe.pytorch' in text[:500]


def removal(folder: Path) -> str:
    on_path = [Path(entry).resolve() for entry in os.environ.get('PYTHONPATH', '').split(':')]
    if folder.parent in on_path:
        return f'take {folder.parent} out of PYTHONPATH'
    return f'pip uninstall mmdet && {INSTALL}'


def check_parts() -> Iterator[Finding]:
    """What tools/train.py and tools/test.py import."""
    for part in PARTS:
        try:
            importlib.import_module(f'mmdet.{part}')
        except (Exception, SystemExit) as error:
            what = f'import mmdet.{part} fails: {one_line(error)}'
            yield Finding('import', what, FAULT, 'see the rows above')
            return
    yield Finding('import', f'mmdet.{", mmdet.".join(PARTS)}')


def check_gpus() -> Iterator[Finding]:
    import torch
    from torch.utils import collect_env

    build = 'CPU only' if torch.version.cuda is None else f'CUDA {torch.version.cuda}'
    if torch.version.hip:
        build = f'ROCm {torch.version.hip}'
    driver = collect_env.get_nvidia_driver_version(collect_env.run)
    if not torch.cuda.is_available():
        if driver is None:
            yield Finding('GPU', 'none: training and testing run on the CPU, slowly', OFF)
        else:
            what = f'torch {torch.__version__} cannot use it ({build}, driver {driver})'
            advice = 'install the PyTorch build for your driver: https://pytorch.org/get-started'
            yield Finding('GPU', what, NOTE, advice)
    for i in range(torch.cuda.device_count()):
        free, total = (size / 1e9 for size in torch.cuda.mem_get_info(i))
        slow = torch.cuda.get_device_capability(i) < (8, 0)
        amp = 'fp16 (it has no units for bf16)' if slow else 'bf16 or fp16'
        name = torch.cuda.get_device_name(i)
        what = f'{name}, {free:.1f} of {total:.1f} GB free, {build}, --amp {amp}'
        yield Finding(f'GPU {i}', what)


def check_ops() -> Iterator[Finding]:
    """NMS of two boxes that overlap by 0.68 and one apart: torchvision fits torch and the GPU."""
    import torch
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    scores = torch.tensor([0.6, 0.9, 0.3])
    for device in ['cpu'] + ['cuda'] * torch.cuda.is_available():
        try:
            kept = nms(boxes.to(device), scores.to(device), 0.5).tolist()
            wrong = '' if kept == [1, 2] else f'keeps the boxes {kept} instead of [1, 2]'
        except Exception as error:
            wrong = one_line(error)
        status, advice = (FAULT, PAIR) if wrong else (OK, '')
        yield Finding(f'nms ({device})', wrong or 'works', status, advice)


def check_video() -> Iterator[Finding]:
    """Write frames of one colour each with our writer, and read them again."""
    import av
    import numpy as np

    from mmdet.video.writer import VideoWriter

    frames = [np.full((64, 96, 3), (30, 40 + 30 * i, 220 - 30 * i), np.uint8) for i in range(6)]
    advice = 'pip install --force-reinstall av'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'try.mp4')
        try:
            with VideoWriter(path, fps=25) as writer:
                for frame in frames:
                    writer.write(frame)
            with av.open(str(path)) as container:
                codec = container.streams.video[0].codec_context.name
                read = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
        except Exception as error:
            what = f'writing or reading fails: {one_line(error)}'
            yield Finding('video', what, NOTE, advice)
            return
    off = np.abs(np.stack(read) - np.stack(frames).astype(float)).mean((1, 2, 3)).max()
    if off > 8:  # colours of SD for those of HD are off by up to 13
        yield Finding('video', f'frames come back changed by {off:.0f} of 255', NOTE, advice)
    elif codec != 'h264':
        yield Finding('video', f'no H.264, but {codec}: browsers may not play it', NOTE, advice)
    else:
        yield Finding('video', f'H.264 is written and read (ffmpeg {av.ffmpeg_version_info})')
