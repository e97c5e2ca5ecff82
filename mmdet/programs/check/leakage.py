"""Frames or videos of training that are in validation, too."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path

from mmdet.core.errors import AnnotationError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.check.faults import FaultLog, image_entry, video_entry
from mmdet.programs.check.file_checks import in_threads

PROBE = 4096  # bytes from the middle of a file; its start is the same in all files of a camera

_Image = tuple[int, int]  # side (0: the file checked, 1: the other one), position


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
    groups: list[list[_Image]] = [
        [(s, i) for s, index in enumerate(sides) for i in range(len(index))]
    ]
    for key_of, what in ((_size, 'sizes'), (_probe, 'pieces'), (_digest, 'contents')):
        images = [(number, image) for number, group in enumerate(groups) for image in group]
        divided: dict[Hashable, list[_Image]] = defaultdict(list)

        def key_at(i: int, key_of: Callable = key_of, images: list = images) -> Hashable:
            side, position = images[i][1]
            return key_of(os.path.join(roots[side], sides[side].file_name(position)))

        for i, key in in_threads(key_at, len(images), f'Comparing the {what} of files'):
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
