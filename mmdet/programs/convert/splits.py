"""Dividing videos into training and validation, always whole videos."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.core.text import read_rows

SPLITS = ('train', 'val')


def split_by_fraction(names: Sequence[str], fraction: float, seed: int) -> dict[str, str]:
    """Which videos validate: `fraction` of them, at least one and not all.

    The choice depends on the names and the seed alone, not on their order, and a video that is
    added later moves hardly any other.

    Raises:
        ConversionError: a fraction outside of 0..1, or fewer than two videos.
    """
    if not 0 < fraction < 1:
        raise ConversionError(f'--val-fraction must lie between 0 and 1, got {fraction}.')
    if len(names) < 2:
        raise ConversionError(
            f'--val-fraction divides whole videos, and there is only {len(names)}. Cut it into '
            f'several, or convert it twice (frames of one video in both parts would make '
            f'validation meaningless).'
        )
    count = min(max(round(fraction * len(names)), 1), len(names) - 1)
    drawn = sorted(names, key=lambda name: hashlib.sha256(f'{seed}:{name}'.encode()).digest())
    val = set(drawn[:count])
    return {name: SPLITS[name in val] for name in names}


def split_by_file(names: Sequence[str], path: Path) -> dict[str, str]:
    """Rows `train VIDEO` or `val VIDEO`, one for each video.

    Raises:
        ConversionError: an unreadable file; a row of another form, of an unknown video or of one
            that came before; a video without a row.
    """
    split_of: dict[str, str] = {}
    for number, line in read_rows(path, ConversionError):
        split, _, name = line.partition(' ')
        name, origin = name.strip(), f'row {number} of {path} ({line!r})'
        if split not in SPLITS or not name:
            raise ConversionError(f'{origin}: expected "train VIDEO" or "val VIDEO"')
        if name not in names:
            raise ConversionError(f'{origin}: no such video. Videos: {", ".join(names)}')
        if name in split_of:
            raise ConversionError(f'{origin}: the video has a row already')
        split_of[name] = split
    missing = [name for name in names if name not in split_of]
    if missing:
        raise ConversionError(
            f'{path} has no row for {len(missing)} of {len(names)} videos: {", ".join(missing[:5])}'
            f'{", ..." * (len(missing) > 5)}'
        )
    return split_of
