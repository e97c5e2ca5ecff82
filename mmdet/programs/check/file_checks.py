"""Image files: are they there, do they decode, do they have the size that the file says."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mmdet.core.errors import UndecodableFrameError
from mmdet.core.images import read_image
from mmdet.core.progress import FrameProgress
from mmdet.programs.check.faults import FaultLog
from mmdet.programs.check.scan import Scanned

FILES = 'files'
DECODE = ('none', 'sample', 'all')
SAMPLED = 1000  # images at most
WINDOW = 256  # images under way


def check_files(scanned: Scanned, img_root: Path, decode: str, log: FaultLog) -> None:
    """Look at every file, and into those that `decode` asks for.

    Args:
        decode: 'none'; 'sample': the first, middle and last frame of every video, at most SAMPLED;
            'all'.
    """
    into = np.zeros(len(scanned.file_names), bool)
    if decode == 'all':
        into[:] = True
    elif decode == 'sample':
        into[sampled(scanned)] = True
    names, missing = scanned.file_names, 0

    def faults_of(position: int) -> str | None:
        path = os.path.join(img_root, names[position])
        return image_fault(path, scanned.sizes[position] if into[position] else None)

    with FrameProgress(len(names), f'Checking files ({into.sum():,} decoded)') as progress:
        positions = range(len(names))
        for position, fault in in_threads(faults_of, positions, progress.advance):
            if fault:
                log.add(FILES, scanned.image(position), fault)
                missing += fault.endswith('does not exist')
    if missing == len(names) > 0:
        log.notes.append(f'None of the files is below {img_root}: is --img-root right?')


def image_fault(path: str, size: Sequence[int] | None) -> str | None:
    """What is wrong with an image file; with a size (width, height), it is decoded."""
    try:
        if size is None:
            return None if os.path.isfile(path) else f'{path} does not exist'
        height, width = read_image(path).shape[:2]
    except FileNotFoundError:
        return f'{path} does not exist'
    except UndecodableFrameError as error:
        return str(error)
    if (width, height) == tuple(size):
        return None
    return f'{path} is {width}x{height}, but the annotation file says {size[0]}x{size[1]}'


def sampled(scanned: Scanned) -> np.ndarray:
    """Positions of the first, middle and last frame of every video, or images evenly spread."""
    chosen = np.arange(len(scanned.file_names))
    if len(scanned.videos):
        starts, ends = scanned.offsets[:-1], scanned.offsets[1:]
        filled = ends > starts
        places = [starts, (starts + ends - 1) // 2, ends - 1]
        chosen = scanned.order[np.unique(np.concatenate([p[filled] for p in places]))]
    if len(chosen) > SAMPLED:
        chosen = chosen[np.linspace(0, len(chosen) - 1, SAMPLED).round().astype(int)]
    return chosen


def in_threads(
    work: Callable[[int], object],
    positions: Sequence[int],
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[int, object]]:
    """(position, work(position)) in order, several at a time; decoding and disks leave Python."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(positions), WINDOW):
            window = positions[start : start + WINDOW]
            yield from zip(window, pool.map(work, window), strict=True)
            advance(len(window))
