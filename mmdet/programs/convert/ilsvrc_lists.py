"""The ILSVRC folder layout and its list files.

    ROOT/Annotations/{VID,DET}/**.xml  ROOT/Data/{VID,DET}/**.JPEG  ROOT/{ImageSets,Lists}/*.txt

Every unit of work knows the list row that asked for it, so that an error deep inside an XML file
can name the row as well.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mmdet.core.errors import ILSVRCError
from mmdet.core.text import read_rows

LIST_FOLDERS = ('ImageSets', 'Lists')
DET_NESTED = 'ILSVRC2013_train'  # one folder per WordNet id inside; the others hold files
DET_FOLDERS = (DET_NESTED, *(f'ILSVRC2014_train_{i:04d}' for i in range(7)))


@dataclass
class Video:
    """One video of a list.

    `origin` is the row that named it first; `key_frames` are 0-based, in the order of the list.
    """

    name: str
    num_frames: int
    origin: str
    key_frames: list[int] = field(default_factory=list)


def find_list(root: Path, name: str) -> Path:
    """The list file `name`, from ImageSets/ or, failing that, from Lists/."""
    for folder in LIST_FOLDERS:
        if (root / folder / name).is_file():
            return root / folder / name
    tried = ' nor '.join(str(root / folder / name) for folder in LIST_FOLDERS)
    raise ILSVRCError(f'Unknown layout: there is neither {tried}.')


def annotation_folder(root: Path, subset: str) -> Path:
    """ROOT/Annotations/{VID,DET}."""
    folder = root / 'Annotations' / subset
    if not folder.is_dir():
        inner = root / 'ILSVRC'
        hint = f' Did you mean {inner}?' if inner.is_dir() else ''
        raise ILSVRCError(f'Unknown layout: there is no folder {folder} with the XML files.{hint}')
    return folder


def image_folder(root: Path, subset: str) -> str | None:
    """ROOT/Data/{VID,DET}, or None when only the annotations are here (they suffice)."""
    folder = root / 'Data' / subset
    return str(folder) if folder.is_dir() else None


def read_train_videos(path: Path) -> list[Video]:
    """Rows `video 1 frame numframes`: the key frames of each video, in order of first appearance.

    `frame` counts from 1, so 0 becomes key frame -1 and matches no frame. The lists in use hold 144
    such rows; the released models were trained with exactly this reading.

    Raises:
        ILSVRCError: an unreadable list, or a row that is malformed or contradicts an earlier one.
    """
    videos: dict[str, Video] = {}
    for origin, name, (_, frame, num_frames) in _rows(path, numbers=3):
        if not 0 <= frame <= num_frames:
            raise ILSVRCError(f'{origin}: frame {frame} is not in 0..{num_frames}.')
        video = videos.setdefault(name, Video(name, num_frames, origin))
        if video.num_frames != num_frames:
            raise ILSVRCError(
                f'{origin}: {name} has {num_frames} frames here, '
                f'but {video.num_frames} in {video.origin}.'
            )
        video.key_frames.append(frame - 1)
    return list(videos.values())


def read_val_videos(path: Path) -> list[Video]:
    """Rows `video start 0 numframes`, in the order of the list. Raises as `read_train_videos`."""
    videos: dict[str, Video] = {}
    for origin, name, (_, _, num_frames) in _rows(path, numbers=3):
        if name in videos:
            raise ILSVRCError(f'{origin}: {name} is listed already in {videos[name].origin}.')
        videos[name] = Video(name, num_frames, origin)
    return list(videos.values())


def read_det_images(path: Path) -> list[tuple[str, str]]:
    """Rows `image [1]`: (name without suffix, row) in list order, repeated rows kept."""
    return [(name, origin) for origin, name, _ in _rows(path, numbers=0)]


def list_det_images(folder: Path) -> list[str]:
    """Every annotated training image of Annotations/DET, in string order of its XML."""
    found = []
    try:
        for part in DET_FOLDERS:
            outer = folder / 'train' / part
            if not outer.exists():
                continue  # a part of the set, as the lists allow
            inner = [outer] if part != DET_NESTED else [e for e in outer.iterdir() if e.is_dir()]
            for place in inner:
                files = [name for name in os.listdir(place) if name.endswith('.xml')]
                found += [f'{place.relative_to(folder).as_posix()}/{name}' for name in files]
    except OSError as error:
        raise ILSVRCError(f'Cannot list {error.filename}: {error.strerror}') from error
    return [name.removesuffix('.xml') for name in sorted(found)]


def _rows(path: Path, numbers: int) -> Iterator[tuple[str, str, list[int]]]:
    """(description of the row, name, its whole numbers) of every row that is not blank."""
    rows = read_rows(path, ILSVRCError)
    if not rows:
        raise ILSVRCError(f'The list {path} is empty.')
    for number, line in rows:
        fields = line.split()
        origin = f'row {number} of {path} ({line!r})'
        yield origin, _checked_name(fields[0], origin), _numbers(fields[1:], numbers, origin)


def _checked_name(name: str, origin: str) -> str:
    parts = PurePosixPath(name).parts
    if name.startswith('/') or '..' in parts or os.path.normpath(name) != name:
        raise ILSVRCError(f'{origin}: {name!r} is not a plain path relative to Annotations/.')
    return name


def _numbers(fields: list[str], count: int, origin: str) -> list[int]:
    if count == 0:
        return []
    try:
        if len(fields) != count:
            raise ValueError
        numbers = [int(text) for text in fields]
    except ValueError:
        raise ILSVRCError(
            f'{origin}: expected a name and {count} whole numbers (path, start, frame, '
            f'number of frames), separated by blanks.'
        ) from None
    if numbers[-1] < 1:
        raise ILSVRCError(f'{origin}: a video needs at least one frame, got {numbers[-1]}.')
    return numbers
