"""Folders of sequences with a text file each: MOT Challenge and GOT-10k.

MOT: SEQ/gt/gt.txt, SEQ/seqinfo.ini, SEQ/img1/000001.jpg (or a video file). Rows `frame, id, left,
top, width, height[, flag, class, visibility]`; frames count from 1, coordinates are taken as they
stand. Class names come from gt/labels.txt (one per line, the first is class 1, as CVAT writes it),
else they are those of the MOT Challenge; class -1 (2D MOT 2015) is the first. Rows with flag 0
become crowds.

GOT-10k: groundtruth.txt with a row `x,y,width,height` per frame, one object per video;
absence.label (1: the object is not in the frame), cover.label (0 to 8: how much of it is visible)
and meta_info.ini (class, frame rate) lie beside it.

An object is occluded where less than half of it is visible.
"""

import configparser
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.core.folders import walk_files
from mmdet.core.text import read_rows, read_text
from mmdet.programs.convert.frame_folders import find_frames, folder_name, frame_record
from mmdet.programs.convert.label_files import LayoutOptions
from mmdet.programs.convert.name_files import unique_names
from mmdet.programs.convert.records import (
    FrameRecord,
    ObjectRecord,
    Source,
    VideoSource,
    check_tracks,
    named_rows,
    parse_integer,
    parse_number,
    split_row,
)

MOT_CLASSES = [
    *('pedestrian', 'person_on_vehicle', 'car', 'bicycle', 'motorbike', 'non_mot_vehicle'),
    *('static_person', 'distractor', 'occluder', 'occluder_on_ground', 'occluder_full'),
    *('reflection', 'crowd'),
]
HALF_VISIBLE = 0.5
FULL_COVER = 8  # the highest level of cover.label


def _sequences(roots: Sequence[Path], truth: str, hint: str = '') -> list[Path]:
    """The folders in or below the roots that hold the file `truth`."""
    folders = []
    for root in roots:
        if not root.is_dir():
            raise ConversionError(f'{root} is not a folder of sequences')
        wanted = Path(truth).parts
        files = [path for path in walk_files(root) if path.parts[-len(wanted) :] == wanted]
        found = [path.parents[len(wanted) - 1] for path in files]
        if not found:
            raise ConversionError(f'There is no {truth} in or below {root}.{hint}')
        folders += found
    return folders


# --- MOT Challenge -------------------------------------------------------------------------------


def open_mot(roots: Sequence[Path], options: LayoutOptions) -> Source:
    """Find all sequences (folders with gt/gt.txt) in or below the folders."""
    folders = _sequences(roots, 'gt/gt.txt', ' (Test sequences have no ground truth.)')
    names = [_mot_classes(folder) for folder in folders]
    for folder, others in zip(folders, names, strict=True):
        if others != names[0]:
            raise ConversionError(
                f'{folders[0]} and {folder} have different gt/labels.txt: convert one at a time.'
            )
    videos = [_mot_video(folder, names[0], options.img_root) for folder in folders]
    return Source(videos, names[0], keep_unused=False)


def _mot_classes(folder: Path) -> list[str]:
    labels = folder / 'gt' / 'labels.txt'
    if not labels.is_file():
        return MOT_CLASSES
    return unique_names([name for _, name in read_rows(labels, ConversionError)], labels, first=1)


def _mot_video(folder: Path, names: list[str], img_root: Path) -> VideoSource:
    path = folder / 'seqinfo.ini'
    info, own_name = _seqinfo(path), folder.resolve().name
    names_of_frames = [info.get('imdir', 'img1'), own_name, '']
    frames = find_frames([folder], names_of_frames, img_root, missing=str(folder))
    if frames.files[0].parent.parent.resolve() == folder.resolve():
        with suppress(ConversionError):  # MOT17-02 rather than MOT17-02/img1
            frames.name = folder_name(folder, img_root)
    if 'seqlength' in info:
        length = parse_integer(info['seqlength'], 'seqLength', str(path))
        if length != len(frames.files):
            raise ConversionError(
                f'{path} says seqLength={length}, but {frames.files[0].parent} has '
                f'{len(frames.files)} frames.'
            )
    if 'framerate' in info:
        frames.fps = parse_number(info['framerate'], 'frameRate', str(path))
    return frames.video(partial(_read_mot, folder / 'gt' / 'gt.txt', frames.files, names, img_root))


def _seqinfo(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path, ConversionError))
        return dict(parser['Sequence'])
    except (configparser.Error, KeyError) as error:
        raise ConversionError(f'{path} is no seqinfo.ini with a [Sequence]: {error}') from error


def _read_mot(
    path: Path, files: list[Path], names: list[str], img_root: Path
) -> Iterator[FrameRecord]:
    objects: dict[int, list[ObjectRecord]] = defaultdict(list)
    for origin, line in named_rows(path):
        frame, record = _parse_mot_row(line, origin, names)
        if not 1 <= frame <= len(files):
            raise ConversionError(
                f'{origin}: frame {frame} is not in 1..{len(files)}; '
                f'{files[0].parent} has {len(files)} frames.'
            )
        objects[frame].append(record)
    for frame, image in enumerate(files, 1):
        yield frame_record(image, img_root, check_tracks(objects.pop(frame, [])))


def _parse_mot_row(line: str, origin: str, names: Sequence[str]) -> tuple[int, ObjectRecord]:
    """(frame from 1, object) of a row of gt.txt."""
    fields = split_row(line)
    if len(fields) < 6:
        raise ConversionError(
            f'{origin}: {len(fields)} columns ({line!r:.80}). Legal: frame, id, left, top, '
            f'width, height, then perhaps flag, class and visibility.'
        )
    frame = parse_integer(fields[0], 'the frame (column 1)', origin)
    track = parse_integer(fields[1], 'the id (column 2)', origin)
    box = tuple(parse_number(f, f'column {i}', origin) for i, f in enumerate(fields[2:6], 3))
    flag, class_id, visibility = [*fields[6:9], *('1', '-1', '1')[len(fields[6:9]) :]]
    flag = parse_number(flag, 'the flag (column 7)', origin)
    class_id = parse_integer(class_id, 'the class (column 8)', origin)
    visibility = parse_number(visibility, 'the visibility (column 9)', origin)
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
        occluded=0 <= visibility < HALF_VISIBLE,
        crowd=flag == 0,
    )


# --- GOT-10k -------------------------------------------------------------------------------------


def open_got10k(roots: Sequence[Path], options: LayoutOptions) -> Source:
    """Find all sequences (folders with groundtruth.txt) in or below the folders."""
    folders = _sequences(roots, 'groundtruth.txt')
    return Source([_got10k_video(folder, options.img_root) for folder in folders])


def _got10k_video(folder: Path, img_root: Path) -> VideoSource:
    frames = find_frames([folder], ['', folder.resolve().name], img_root, missing=str(folder))
    rows = named_rows(folder / 'groundtruth.txt')
    if len(rows) != len(frames.files):
        hint = ' Test sequences have no ground truth but that of frame 0.' * (len(rows) == 1)
        raise ConversionError(
            f'{folder}/groundtruth.txt has {len(rows)} rows, but {frames.files[0].parent} has '
            f'{len(frames.files)} frames.{hint}'
        )
    path = folder / 'meta_info.ini'
    lines = [text for _, text in named_rows(path)] if path.is_file() else []
    pairs = (re.fullmatch(r'(.+?)\s*[:=]\s*(.+)', line) for line in lines)
    info = {pair[1]: pair[2] for pair in pairs if pair}  # whatever else the file holds
    if 'object_class' not in info:
        raise ConversionError(f'{path} does not give the class (object_class: NAME).')
    rate = re.match(r'[\d.]+', info.get('anno_fps', ''))
    frames.fps = frames.fps or (float(rate[0]) if rate else None)
    read = partial(_read_got10k, folder, frames.files, rows, info['object_class'], img_root)
    return frames.video(read)


def _read_got10k(
    folder: Path, files: list[Path], rows: list[tuple[str, str]], name: str, img_root: Path
) -> Iterator[FrameRecord]:
    absent = _levels(folder / 'absence.label', len(rows), 1, default=0)
    cover = _levels(folder / 'cover.label', len(rows), FULL_COVER, default=FULL_COVER)
    for i, (image, (origin, text)) in enumerate(zip(files, rows, strict=True)):
        objects = []
        if not absent[i]:
            fields = split_row(text)
            if len(fields) != 4:
                raise ConversionError(
                    f'{origin}: {len(fields)} columns ({text!r:.80}), expected x,y,width,height'
                )
            box = tuple(parse_number(f, f'column {c}', origin) for c, f in enumerate(fields, 1))
            occluded = cover[i] < HALF_VISIBLE * FULL_COVER
            objects = [ObjectRecord(name, box, origin, track=1, occluded=occluded)]
        yield frame_record(image, img_root, objects)


def _levels(path: Path, length: int, highest: int, default: int) -> list[int]:
    """The numbers of a .label file, one per frame; `default` everywhere if there is no file."""
    if not path.is_file():
        return [default] * length
    rows = named_rows(path)
    if len(rows) != length:
        raise ConversionError(
            f'{path} has {len(rows)} rows, but groundtruth.txt beside it has {length}.'
        )
    levels = [parse_integer(text, 'the label', origin) for origin, text in rows]
    for level, (origin, _) in zip(levels, rows, strict=True):
        if not 0 <= level <= highest:
            raise ConversionError(f'{origin}: the label is {level}, not in 0..{highest}')
    return levels
