"""Frames or videos of training that are in validation, too."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path

from mmdet.core.progress import FrameProgress
from mmdet.programs.check.faults import FaultLog
from mmdet.programs.check.file_checks import in_threads
from mmdet.programs.check.scan import Scanned, scan

LEAKAGE = 'split leakage'
PROBE = 4096  # bytes from the middle of a file; its start is the same in all files of a camera

_Image = tuple[int, int]  # side (0: the file checked, 1: the other one), position


def check_leakage(
    scanned: Scanned, img_root: Path, against: Path, against_root: Path, log: FaultLog
) -> None:
    """Videos of equal name, and image files of equal content, in two annotation files.

    Pictures that were encoded anew or cropped are not recognised.
    """
    other = scan(against, FaultLog())
    if other is None:
        log.add(LEAKAGE, str(against), 'cannot be read: check it by itself')
        return
    known = {name: i for i, name in enumerate(other.videos)}
    for i, name in enumerate(scanned.videos):
        if name in known:
            rule = f'the name is that of video id {other.video_ids[known[name]]} of {against}'
            log.add(LEAKAGE, f'video id {scanned.video_ids[i]} ({name})', rule)
    for here, there in _equal_files((scanned, other), (img_root, against_root)):
        rule = f'is the same picture as {other.image(there)} of {against}'
        log.add(LEAKAGE, scanned.image(here), rule)


def _equal_files(sides: tuple[Scanned, Scanned], roots: tuple[Path, Path]) -> list[tuple[int, int]]:
    """Positions in both files of images with equal content, each of the first file once.

    Files are told apart by their size, then by a few bytes, and only then read as a whole.
    """
    paths = [
        [os.path.join(root, name) for name in side.file_names]
        for side, root in zip(sides, roots, strict=True)
    ]
    groups: list[list[_Image]] = [[(side, i) for side in (0, 1) for i in range(len(paths[side]))]]
    for key_of, what in ((_size, 'sizes'), (_probe, 'pieces'), (_digest, 'contents')):
        groups = _divided(groups, paths, key_of, what)
    pairs = []
    for group in groups:
        there = next(position for side, position in group if side == 1)
        pairs += [(position, there) for side, position in group if side == 0]
    return sorted(pairs)


def _divided(
    groups: list[list[_Image]],
    paths: list[list[str]],
    key_of: Callable[[str], Hashable],
    what: str,
) -> list[list[_Image]]:
    """Groups divided by a key of the files; only those with images of both sides remain."""
    images = [(number, image) for number, group in enumerate(groups) for image in group]
    if not images:
        return []
    divided: dict[Hashable, list[_Image]] = defaultdict(list)

    def key_at(i: int) -> Hashable:
        _, (side, position) = images[i]
        return key_of(paths[side][position])

    with FrameProgress(len(images), f'Comparing the {what} of files') as progress:
        for i, key in in_threads(key_at, range(len(images)), progress.advance):
            number, image = images[i]
            if key is not None:
                divided[number, key].append(image)
    return [group for group in divided.values() if {side for side, _ in group} == {0, 1}]


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
