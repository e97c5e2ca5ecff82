"""Image files: are they there, do they decode, do they have the size that the file says; and are
pictures of training in validation, too.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from mmdet.core.errors import AnnotationError, UndecodableFrameError
from mmdet.core.images import read_image
from mmdet.core.progress import FrameProgress
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.check.faults import FaultLog, image_entry, video_entry

SAMPLED = 1000  # images at most
WINDOW = 256  # images under way
PROBE = 4096  # bytes from the middle of a file; its start is the same in all files of a camera

_Image = tuple[int, int]  # side (0: the file checked, 1: the other one), position


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
    for image, fault in _in_threads(fault_of, len(index), what):
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


def _in_threads(
    work: Callable[[int], object], number: int, what: str
) -> Iterator[tuple[int, object]]:
    """(i, work(i)) for i below `number` in order; decoding and disks run beside each other."""
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        FrameProgress(number, what) as progress,
    ):
        for start in range(0, number, WINDOW):
            window = range(start, min(start + WINDOW, number))
            yield from zip(window, pool.map(work, window), strict=True)
            progress.advance(len(window))


def check_leakage(
    index: CocoVideoIndex, img_root: Path, against: Path, against_root: Path, log: FaultLog
) -> None:
    """Videos of equal name, and image files of equal content, in two annotation files.

    Pictures that were encoded anew or cropped are not recognised.
    """
    try:
        other = CocoVideoIndex.read(against, FaultLog().add)
    except (AnnotationError, OSError):
        log.add('split leakage', str(against), 'cannot be read: check it by itself')
        return
    known = {other.video_name(v): other.video_ids[v] for v in other.videos()}
    for video in index.videos():
        number = known.get(index.video_name(video))
        if number is not None:
            rule = f'the name is that of video id {number} of {against}'
            log.add('split leakage', video_entry(index, video), rule)
    for here, there in _equal_files((index, other), (img_root, against_root)):
        rule = f'is the same picture as {image_entry(other, there)} of {against}'
        log.add('split leakage', image_entry(index, here), rule)


def _equal_files(
    sides: tuple[CocoVideoIndex, CocoVideoIndex], roots: tuple[Path, Path]
) -> list[tuple[int, int]]:
    """Positions in both files of images with equal content, each of the first file once.

    Files are told apart by their size, then by a few bytes, and only then read as a whole.
    """

    def key_at(i: int, key_of: Callable, images: list[tuple[int, _Image]]) -> Hashable:
        side, position = images[i][1]
        return key_of(os.path.join(roots[side], sides[side].file_name(position)))

    groups = [[(s, i) for s, index in enumerate(sides) for i in range(len(index))]]
    for key_of, what in ((_size, 'sizes'), (_probe, 'pieces'), (_digest, 'contents')):
        images = [(number, image) for number, group in enumerate(groups) for image in group]
        divided: dict[Hashable, list[_Image]] = defaultdict(list)
        work = partial(key_at, key_of=key_of, images=images)
        for i, key in _in_threads(work, len(images), f'Comparing the {what} of files'):
            number, image = images[i]
            if key is not None:
                divided[number, key].append(image)
        # only those with images of both sides remain
        groups = [group for group in divided.values() if {side for side, _ in group} == {0, 1}]
    pairs = []
    for group in groups:
        there = next(position for side, position in group if side == 1)
        pairs += [(position, there) for side, position in group if side == 0]
    return sorted(pairs)


def _size(path: str) -> int | None:
    """Bytes; None for files that are missing or empty, which other checks report."""
    try:
        return os.path.getsize(path) or None
    except OSError:
        return None


def _probe(path: str) -> bytes:
    with open(path, 'rb') as file:
        file.seek(os.path.getsize(path) // 2)
        return file.read(PROBE)


def _digest(path: str) -> bytes:
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).digest()
