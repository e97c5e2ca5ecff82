"""MOT Challenge sequences: SEQ/gt/gt.txt, SEQ/seqinfo.ini, SEQ/img1/000001.jpg (or a video file).

Rows `frame, id, left, top, width, height[, flag, class, visibility]`; frames count from 1,
coordinates are taken as they stand. Class names come from gt/labels.txt (one per line, the first is
class 1, as CVAT writes it), else they are those of the MOT Challenge; class -1 (2D MOT 2015) is the
first. Rows with flag 0 become crowds. An object is occluded where less than half of it is visible.
"""

import configparser
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.core.folders import walk_files
from mmdet.core.text import read_rows, read_text
from mmdet.programs.convert.class_names import unique_names
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
    check_tracks,
    parse_integer,
    parse_number,
    split_row,
)

CLASSES = (
    *('pedestrian', 'person_on_vehicle', 'car', 'bicycle', 'motorbike', 'non_mot_vehicle'),
    *('static_person', 'distractor', 'occluder', 'occluder_on_ground', 'occluder_full'),
    *('reflection', 'crowd'),
)
OCCLUDED_BELOW = 0.5  # visibility


@dataclass
class _Sequence:
    folder: Path
    frames: FrameFolder
    names: list[str]
    fps: float | None


def open_mot(roots: Sequence[Path], img_root: Path) -> Source:
    """Find all sequences (folders with gt/gt.txt) in or below the folders.

    Raises:
        ConversionError: there is none, or its frames are missing or not as many as seqLength.
    """
    folders = [folder for root in roots for folder in _sequence_folders(root)]
    sequences = [_open(folder, img_root) for folder in folders]
    for sequence in sequences[1:]:
        if sequence.names != sequences[0].names:
            raise ConversionError(
                f'{sequences[0].folder} and {sequence.folder} have different gt/labels.txt: '
                f'convert one at a time.'
            )
    videos = [
        VideoSource(s.frames.name, len(s.frames.files), partial(_read, s, img_root), s.fps)
        for s in sequences
    ]
    return Source(videos, list(sequences[0].names), keep_unused=False)


def _sequence_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ConversionError(f'{root} is not a folder of MOT sequences')
    found = [p.parent.parent for p in walk_files(root) if p.parts[-2:] == ('gt', 'gt.txt')]
    if not found:
        raise ConversionError(
            f'There is no gt/gt.txt in or below {root}. (Test sequences have no ground truth.)'
        )
    return found


def _open(folder: Path, img_root: Path) -> _Sequence:
    info = _seqinfo(folder / 'seqinfo.ini')
    name = folder.resolve().name
    subfolder = info.get('imdir', 'img1')
    try:
        frames = find_frames([folder], [subfolder, name, ''], img_root)
    except ConversionError as error:
        raise ConversionError(f'{folder}: {error}') from None
    _name_by_sequence(frames, folder, img_root)
    origin = str(folder / 'seqinfo.ini')
    if 'seqlength' in info:
        length = parse_integer(info['seqlength'], 'seqLength', origin)
        if length != len(frames.files):
            raise ConversionError(
                f'{origin} says seqLength={length}, but {frames.files[0].parent} has '
                f'{len(frames.files)} frames.'
            )
    fps = frames.fps
    if 'framerate' in info:
        fps = parse_number(info['framerate'], 'frameRate', origin)
    labels = folder / 'gt' / 'labels.txt'
    names = list(CLASSES)
    if labels.is_file():
        rows = read_rows(labels, ConversionError)
        names = unique_names([name for _, name in rows], labels, first=1)
    return _Sequence(folder, frames, names, fps)


def _name_by_sequence(frames: FrameFolder, folder: Path, img_root: Path) -> None:
    """Call a video MOT17-02 rather than MOT17-02/img1."""
    if frames.files[0].parent.parent.resolve() == folder.resolve():
        try:
            name = relative_name(folder, img_root)
        except ConversionError:
            return
        frames.name = folder.resolve().name if name == '.' else name


def _seqinfo(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path, ConversionError))
        return dict(parser['Sequence'])
    except (configparser.Error, KeyError) as error:
        raise ConversionError(f'{path} is no seqinfo.ini with a [Sequence]: {error}') from error


def _read(sequence: _Sequence, img_root: Path) -> Iterator[FrameRecord]:
    path = sequence.folder / 'gt' / 'gt.txt'
    objects: dict[int, list[ObjectRecord]] = defaultdict(list)
    length = len(sequence.frames.files)
    for number, line in read_rows(path, ConversionError):
        frame, record = parse_row(line, f'row {number} of {path}', sequence.names)
        if not 1 <= frame <= length:
            raise ConversionError(
                f'{record.origin}: frame {frame} is not in 1..{length}; '
                f'{sequence.frames.files[0].parent} has {length} frames.'
            )
        objects[frame].append(record)
    for frame, image in enumerate(sequence.frames.files, 1):
        size = image_size(image)
        found = check_tracks(objects.pop(frame, []))
        yield FrameRecord(relative_name(image, img_root), *size, found)


def parse_row(line: str, origin: str, names: Sequence[str]) -> tuple[int, ObjectRecord]:
    """(frame from 1, object) of a row of gt.txt.

    Raises:
        ConversionError: names the row, and what is wrong in it.
    """
    fields = split_row(line)
    if len(fields) < 6:
        raise ConversionError(
            f'{origin}: {len(fields)} columns ({line.strip()!r:.80}). Legal: frame, id, left, top, '
            f'width, height, then perhaps flag, class and visibility.'
        )
    frame = parse_integer(fields[0], 'the frame (column 1)', origin)
    track = parse_integer(fields[1], 'the id (column 2)', origin)
    box = tuple(parse_number(f, f'column {i}', origin) for i, f in enumerate(fields[2:6], 3))
    flag, class_id, visibility = 1.0, -1, 1.0
    if len(fields) > 6:
        flag = parse_number(fields[6], 'the flag (column 7)', origin)
    if len(fields) > 7:
        class_id = parse_integer(fields[7], 'the class (column 8)', origin)
    if len(fields) > 8:
        visibility = parse_number(fields[8], 'the visibility (column 9)', origin)
    if class_id != -1 and not 1 <= class_id <= len(names):
        raise ConversionError(
            f'{origin}: class {class_id} is not in 1..{len(names)} ({", ".join(names)}). Write the '
            f'names of your own classes to gt/labels.txt, one per line, class 1 first.'
        )
    return frame, ObjectRecord(
        names[max(class_id, 1) - 1],
        box,
        origin,
        track=None if track == -1 else track,
        occluded=0 <= visibility < OCCLUDED_BELOW,
        crowd=flag == 0,
    )
