"""Datasets with one label file per frame (YOLO, VOC): which file belongs to which frame.

Known layouts, with any folders in between: `images/**` beside `labels/**`, `JPEGImages/**` beside
`Annotations/**`, images and labels in one folder, `VIDEO/images` beside `VIDEO/labels`; and video
files with numbered labels: `VIDEO.mp4` with `labels/VIDEO/*_000001.txt` or `labels/VIDEO_1.txt`.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from mmdet.core.errors import ConversionError
from mmdet.core.folders import walk_files
from mmdet.core.images import is_image, is_video
from mmdet.programs.convert.frame_folders import (
    FrameFolder,
    folder_name,
    frame_stem,
    frames_of_video,
    image_size,
    in_order,
    relative_name,
    trailing_number,
)
from mmdet.programs.convert.records import (
    FrameRecord,
    ObjectRecord,
    Source,
    check_tracks,
)

# folders that say what a file is, not which video it belongs to; the first has labels in the second
_TWINS = {'images': 'labels', 'JPEGImages': 'Annotations', 'videos': 'labels', 'frames': 'labels'}
_ROLES = {name.lower() for pair in _TWINS.items() for name in pair}
_NO_LABELS = {'classes.txt', 'train.txt', 'val.txt', 'valid.txt', 'test.txt', 'autosplit_train.txt'}
_NO_LABELS |= {'autosplit_val.txt', 'readme.txt', 'readme.roboflow.txt', 'readme.dataset.txt'}


# of a label file, its image and the (width, height) of that
ReadObjects = Callable[[Path, Path, tuple[int, int]], Sequence[ObjectRecord]]


@dataclass
class LayoutOptions:
    """How files become videos.

    Attributes:
        img_root: folder that the file names of the frames start from.
        group: 'folder': the images of a folder are a video; 'prefix': those of a folder whose names
            are equal up to the number at their end.
        first_frame: number (0 or 1) of the first frame where labels have numbers; None: found out.
        classes: what the user calls the classes, for inputs without names of their own.
    """

    img_root: Path
    group: str = 'folder'
    first_frame: int | None = None
    classes: Sequence[str] | None = None


def open_label_files(
    roots: Sequence[Path],
    suffix: str,
    options: LayoutOptions,
    read: ReadObjects,
    classes: list[str] | None = None,
) -> Source:
    """Every video below the folders, with the label files (of an ending such as '.txt') of its
    frames. Frames without one have no objects."""
    pairs = [pair for root in roots for pair in _labelled_videos(root, suffix, options)]
    videos = [
        folder.video(partial(_read, folder.files, labels, options.img_root, read))
        for folder, labels in pairs
    ]
    return Source(videos, classes, notes=_hints_of_prefixes(folder for folder, _ in pairs))


def _read(
    files: list[Path], labels: list[Path | None], img_root: Path, read: ReadObjects
) -> Iterator[FrameRecord]:
    for image, label in zip(files, labels, strict=True):
        size = image_size(image)
        objects = check_tracks(read(label, image, size)) if label else []
        name = relative_name(image, img_root)
        yield FrameRecord(name, *size, objects, labelled=label is not None)


def _labelled_videos(
    root: Path, suffix: str, options: LayoutOptions
) -> list[tuple[FrameFolder, list[Path | None]]]:
    """The frames of each video and, for each frame, its label file or None."""
    if not root.is_dir():
        raise ConversionError(f'{root} is not a folder of images (or videos) and labels')
    files = list(walk_files(root))
    labels = _labels_by_key(root, suffix)
    used: set[str] = set()
    pairs = []
    for video in filter(is_video, files):
        folder, key = frames_of_video(video, options.img_root), _key(video, root)
        numbered = {k: path for k, path in labels.items() if _belongs_to(k, key)}
        used |= set(numbered)
        pairs.append((folder, _by_number(folder, numbered, options.first_frame)))
    extracted = {path.parent for folder, _ in pairs for path in folder.files[:1]}
    images = [path for path in files if is_image(path) and path.parent not in extracted]
    for name, frames in _group_images(images, options).items():
        keys = [_key(path, root) for path in frames]
        used |= set(keys)
        pairs.append((FrameFolder(name, frames), [labels.get(k) for k in keys]))
    if not pairs:
        raise ConversionError(f'There are neither images nor video files below {root}.')
    orphans = sorted(set(labels) - used)
    if orphans:
        raise ConversionError(
            f'{labels[orphans[0]]} belongs to no frame: there is no image of that name below '
            f'{root} ({len(orphans)} of {len(labels)} label files have none).'
        )
    return pairs


def _group_images(files: Iterable[Path], options: LayoutOptions) -> dict[str, list[Path]]:
    """Images by video; see `LayoutOptions.group`."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        video = video_of(relative_name(path, options.img_root), options.group)
        groups[video or folder_name(path.parent, options.img_root)].append(path)
    return {name: in_order(images) for name, images in groups.items()}


def video_of(file_name: str, group: str) -> str:
    """The video of an image by its name, '' in the root; see `LayoutOptions.group`.

    A prefix is what stands before the frame number: `cam1` of `cam1_000012.jpg`.
    """
    path = PurePosixPath(file_name.replace('\\', '/'))
    if group == 'folder':
        return '' if path.parent == PurePosixPath('.') else path.parent.as_posix()
    prefix = re.fullmatch(r'(.*?)[-_. ]*\d+', frame_stem(path.stem))
    if prefix is None:
        raise ConversionError(
            f'{path}: the name does not end in a frame number, so it cannot be grouped by prefix '
            f'(expected VIDEO_000012 or the like)'
        )
    return (path.parent / (prefix[1] or 'video')).as_posix()


def _hints_of_prefixes(folders: Iterable[FrameFolder]) -> list[str]:
    """Notes on folders whose file names look like those of several videos."""
    notes = []
    for folder in folders:
        stems = [frame_stem(path.stem) for path in folder.files]
        numbered = [re.fullmatch(r'(.*?\D)\d+', stem) for stem in stems]
        prefixes = {match[1] for match in numbered if match}
        if all(numbered) and 1 < len(prefixes) <= len(stems) // 2:
            notes.append(
                f'The {len(stems)} images of {folder.name} start with {len(prefixes)} '
                f'different names. If each is a video of its own, add --group prefix.'
            )
    return notes


def _label_root(root: Path) -> Path | None:
    """Where the labels of ROOT/images/train are: ROOT/labels/train, if that exists."""
    parts = list(Path(os.path.abspath(root)).parts)
    for i in reversed(range(len(parts))):
        if parts[i] in _TWINS:
            twin = Path(*parts[:i], _TWINS[parts[i]], *parts[i + 1 :])
            return twin if twin.is_dir() else None
    return None


def _labels_by_key(root: Path, suffix: str) -> dict[str, Path]:
    labels: dict[str, Path] = {}
    for folder in filter(None, (root, _label_root(root))):
        for path in walk_files(folder):
            if path.suffix.lower() == suffix and path.name.lower() not in _NO_LABELS:
                key = _key(path, folder)
                if key in labels:
                    raise ConversionError(f'{labels[key]} and {path} label the same frame.')
                labels[key] = path
    return labels


def _key(path: Path, root: Path) -> str:
    """The path below `root` without its ending and without folders that only say what it is."""
    inner = path.relative_to(root).with_suffix('')
    return '/'.join([*(p for p in inner.parts[:-1] if p.lower() not in _ROLES), inner.name])


def _belongs_to(label: str, video: str) -> bool:
    """Is this the key of a numbered label of the video: VIDEO/anything_12 or VIDEO_12."""
    rest = label.removeprefix(video)
    return rest != label and re.fullmatch(r'/[^/]*\d|[-_.]\d+', rest) is not None


def _by_number(
    folder: FrameFolder, labels: dict[str, Path], first_frame: int | None
) -> list[Path | None]:
    """The labels of a video file by the number in their names."""
    found: list[Path | None] = [None] * len(folder.files)
    by_number = {trailing_number(key): path for key, path in labels.items()}
    if len(by_number) < len(labels):
        raise ConversionError(f'Two label files of {folder.name} end in the same frame number.')
    first = first_number(set(by_number), len(found), folder.name, first_frame)
    for number, path in by_number.items():
        if not 0 <= number - first < len(found):
            raise ConversionError(
                f'{path} is label {number} of {folder.name}, which has {len(found)} frames '
                f'(numbered from {first}).'
            )
        found[number - first] = path
    return found


def first_number(numbers: set[int], length: int, name: str, given: int | None) -> int:
    """Whether numbered labels of a video of `length` frames count from 0 or from 1.

    Where neither 0 nor the last number occurs, both are possible: the user must say.
    """
    if given is not None or not numbers or 0 in numbers:
        return given or 0
    if max(numbers) >= length:
        return 1
    raise ConversionError(
        f'The labels of {name} are numbered {min(numbers)} to {max(numbers)} and the video has '
        f'{length} frames: it may count from 0 or from 1. Add --first-frame 0 or --first-frame 1.'
    )
