"""GOT-10k: folders with groundtruth.txt and one labelled object per video.

Rows `x,y,width,height`, one per frame; absence.label (1: the object is not in the frame),
cover.label (0 to 8: how much of it is visible) and meta_info.ini (class, frame rate) lie beside it.
An object is occluded where less than half of it is visible.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.core.folders import walk_files
from mmdet.core.text import read_rows
from mmdet.programs.convert.frames import (
    FrameFolder,
    find_frames,
    image_size,
    relative_name,
)
from mmdet.programs.convert.records import (
    FrameRecord,
    ObjectRecord,
    Source,
    VideoSource,
    parse_integer,
    parse_number,
    split_row,
)

TRUTH = 'groundtruth.txt'
FULL_COVER = 8  # the highest level of cover.label


@dataclass
class _Sequence:
    folder: Path
    frames: FrameFolder
    rows: list[tuple[str, str]]  # (origin, text)
    name: str


def open_got10k(roots: Sequence[Path], img_root: Path) -> Source:
    """Find all sequences (folders with groundtruth.txt) in or below the folders.

    Raises:
        ConversionError: there is none, it has no class, or rows and frames differ in number.
    """
    folders = [folder for root in roots for folder in _sequence_folders(root)]
    videos = []
    for folder in folders:
        sequence, fps = _open(folder, img_root)
        read = partial(_read, sequence, img_root)
        videos.append(VideoSource(sequence.frames.name, len(sequence.rows), read, fps))
    return Source(videos)


def _sequence_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ConversionError(f'{root} is not a folder of GOT-10k sequences')
    found = [path.parent for path in walk_files(root) if path.name == TRUTH]
    if not found:
        raise ConversionError(f'There is no {TRUTH} in or below {root}.')
    return found


def _open(folder: Path, img_root: Path) -> tuple[_Sequence, float | None]:
    try:
        frames = find_frames([folder], ['', folder.resolve().name], img_root)
    except ConversionError as error:
        raise ConversionError(f'{folder}: {error}') from None
    rows = _rows(folder / TRUTH)
    if len(rows) != len(frames.files):
        hint = ' Test sequences have no ground truth but that of frame 0.' * (len(rows) == 1)
        raise ConversionError(
            f'{folder / TRUTH} has {len(rows)} rows, but {frames.files[0].parent} has '
            f'{len(frames.files)} frames.{hint}'
        )
    info = _meta_info(folder / 'meta_info.ini')
    if 'object_class' not in info:
        raise ConversionError(
            f'{folder / "meta_info.ini"} does not give the class (object_class: NAME).'
        )
    rate = re.match(r'[\d.]+', info.get('anno_fps', ''))
    fps = frames.fps or (float(rate[0]) if rate else None)
    return _Sequence(folder, frames, rows, info['object_class']), fps


def _meta_info(path: Path) -> dict[str, str]:
    """Rows `key: value`, whatever else the file holds."""
    if not path.is_file():
        return {}
    pairs = (re.fullmatch(r'\s*(.+?)\s*[:=]\s*(.+?)\s*', line) for _, line in _rows(path))
    return {pair[1]: pair[2] for pair in pairs if pair}


def _rows(path: Path) -> list[tuple[str, str]]:
    rows = read_rows(path, ConversionError)
    return [(f'row {number} of {path}', line) for number, line in rows]


def _levels(path: Path, length: int, highest: int, absent: int) -> list[int]:
    """The numbers of a .label file, one per frame; `absent` everywhere if there is no file."""
    if not path.is_file():
        return [absent] * length
    rows = _rows(path)
    if len(rows) != length:
        raise ConversionError(f'{path} has {len(rows)} rows, but {TRUTH} beside it has {length}.')
    levels = [parse_integer(text.strip(), 'the label', origin) for origin, text in rows]
    for level, (origin, _) in zip(levels, rows, strict=True):
        if not 0 <= level <= highest:
            raise ConversionError(f'{origin}: the label is {level}, not in 0..{highest}')
    return levels


def _read(sequence: _Sequence, img_root: Path) -> Iterator[FrameRecord]:
    length = len(sequence.rows)
    is_absent = _levels(sequence.folder / 'absence.label', length, 1, absent=0)
    cover = _levels(sequence.folder / 'cover.label', length, FULL_COVER, absent=FULL_COVER)
    for i, image in enumerate(sequence.frames.files):
        objects = []
        if not is_absent[i]:
            origin, text = sequence.rows[i]
            objects = [_object(sequence.name, text, origin, cover[i])]
        yield FrameRecord(relative_name(image, img_root), *image_size(image), objects)


def _object(name: str, text: str, origin: str, cover: int) -> ObjectRecord:
    fields = split_row(text)
    if len(fields) != 4:
        raise ConversionError(
            f'{origin}: {len(fields)} columns ({text.strip()!r:.80}), expected x,y,width,height'
        )
    box = tuple(parse_number(field, f'column {i}', origin) for i, field in enumerate(fields, 1))
    return ObjectRecord(name, box, origin, track=1, occluded=cover < FULL_COVER / 2)
