"""Image files: are they there, do they decode, do they have the size that the file says."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mmdet.core.errors import UndecodableFrameError
from mmdet.core.images import read_image
from mmdet.core.progress import FrameProgress
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.check.faults import FaultLog, image_entry

SAMPLED = 1000  # images at most
WINDOW = 256  # images under way


def check_files(index: CocoVideoIndex, img_root: Path, decode: str, log: FaultLog) -> None:
    """Look at every file, and into those that `decode` asks for.

    Args:
        decode: 'none'; 'sample': the first, middle and last frame of every video, at most SAMPLED;
            'all'.
    """
    into = np.full(len(index), decode == 'all')
    if decode == 'sample':
        into[_sampled(index)] = True
    missing = 0

    def fault_of(image: int) -> str | None:
        """What is wrong with an image file."""
        path = os.path.join(img_root, index.file_name(image))
        if not os.path.isfile(path):
            return f'{path} does not exist'
        if not into[image]:
            return None
        try:
            height, width = read_image(path).shape[:2]
        except UndecodableFrameError as error:
            return str(error)
        said = index.image_widths[image], index.image_heights[image]
        if (width, height) == said:
            return None
        return f'{path} is {width}x{height}, but the annotation file says {said[0]}x{said[1]}'

    what = f'Checking files ({into.sum():,} decoded)'
    for image, fault in in_threads(fault_of, len(index), what):
        if fault:
            log.add('files', image_entry(index, image), fault)
            missing += fault.endswith('does not exist')
    if missing == len(index) > 0:
        log.notes.append(f'None of the files is below {img_root}: is --img-root right?')


def _sampled(index: CocoVideoIndex) -> np.ndarray:
    """Positions of the first, middle and last frame of every video, or images evenly spread."""
    chosen = np.arange(len(index))
    if len(index.videos()):
        starts, ends = index.video_offsets[:-1], index.video_offsets[1:]
        places = np.stack([starts, (starts + ends - 1) // 2, ends - 1])[:, ends > starts]
        chosen = index.video_images[np.unique(places)]
    if len(chosen) > SAMPLED:
        chosen = chosen[np.linspace(0, len(chosen) - 1, SAMPLED).round().astype(int)]
    return chosen


def in_threads(
    work: Callable[[int], object], number: int, what: str
) -> Iterator[tuple[int, object]]:
    """(i, work(i)) for i below `number` in order; decoding and disks run beside each other."""
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        FrameProgress(number, what) as progress,
    ):
        for start in range(0, number, WINDOW):
            window: Sequence[int] = range(start, min(start + WINDOW, number))
            yield from zip(window, pool.map(work, window), strict=True)
            progress.advance(len(window))
