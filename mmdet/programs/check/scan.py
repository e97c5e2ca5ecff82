"""An annotation file read in spite of its faults.

The rules are those of the index (`parsers`), which refuses a file at the first fault. Here an entry
that breaks a rule by itself is reported and left out, and what refers to it is not blamed.

N: images, A: annotations, V: videos, C: categories. *Position* means an index into such an array.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import rich.progress

from mmdet.core.errors import AnnotationError
from mmdet.datasets.parsers.annotation_check import find, read_tables
from mmdet.datasets.parsers.annotation_rules import (
    duplicate_ids,
    frame_numbering,
    unknown_ids,
    unknown_videos,
)
from mmdet.datasets.parsers.annotation_table import (
    ABSENT,
    Table,
    entry_faults,
    entry_name,
    read_text,
)
from mmdet.programs.check.faults import FaultLog

BLOCK = 1 << 20
LONG = 64 << 20  # bytes that take over a second
STRUCTURE, NUMBERING, NAMES = 'structure', 'frame numbering', 'names'


@dataclass
class Scanned:
    """The legal entries of a file.

    Attributes:
        path: the file.
        categories, videos, file_names: [C], [V], [N] names.
        category_ids, video_ids, image_ids, ann_ids: the file's ids.
        sizes: [N, 2] width and height, pixels.
        video_of: [N] position of the video, -1 without one.
        frame_ids: [N], -1 without one.
        is_key: [N] bool, flagged as training frame (or not said).
        order, offsets: positions of the images in videos, those of video v being order[offsets[v]]
            to [v + 1], by frame id.
        image_of, category_of: [A] positions; entries that refer to nothing are left out.
        boxes: [A, 4] xywh, pixels.
        areas: [A], width * height where the file does not say.
        tracks: [A] instance ids, -1 where the file does not say.
        counts: [A] bool, neither crowd nor ignored.
        ignored: [A] bool.
        has_tracks: every annotation has an instance id.
    """

    path: Path
    categories: list[str]
    videos: list[str]
    file_names: list[str]
    category_ids: np.ndarray
    video_ids: np.ndarray
    image_ids: np.ndarray
    ann_ids: np.ndarray
    sizes: np.ndarray
    video_of: np.ndarray
    frame_ids: np.ndarray
    is_key: np.ndarray
    order: np.ndarray
    offsets: np.ndarray
    image_of: np.ndarray
    category_of: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    tracks: np.ndarray
    counts: np.ndarray
    ignored: np.ndarray
    has_tracks: bool

    def image(self, position: int) -> str:
        """What reports call an image."""
        return f'image id {self.image_ids[position]} ({self.file_names[position]})'

    def annotation(self, position: int) -> str:
        """What reports call an annotation."""
        return f'annotation id {self.ann_ids[position]} of {self.image(self.image_of[position])}'


class _Reader:
    """Takes entries into tables, and keeps those that break a rule out."""

    def __init__(self, log: FaultLog):
        self.log = log
        self.left_out: dict[str, set] = defaultdict(set)  # ids by list
        self.torn_videos: set = set()  # ids of videos that an image was left out of
        self._seen: dict[str, int] = defaultdict(int)

    def add(self, table: Table, entries: list) -> None:
        first = self._seen[table.name]
        self._seen[table.name] += len(entries)
        try:
            table.add(entries)
        except AnnotationError:
            legal = [e for i, e in enumerate(entries) if self._is_legal(table.name, first + i, e)]
            if legal:
                table.add(legal)

    def _is_legal(self, name: str, position: int, entry: object) -> bool:
        faults = list(entry_faults(name, entry))
        self.log.add_all(STRUCTURE, ((entry_name(name, position, entry), f) for f in faults))
        if faults and isinstance(entry, dict):
            self.left_out[name] |= {i for i in [entry.get('id')] if isinstance(i, int)}
            if name == 'images' and isinstance(entry.get('video_id'), int):
                self.torn_videos.add(entry['video_id'])
        return not faults


def scan(path: Path, log: FaultLog) -> Scanned | None:
    """Read an annotation file and report what breaks a rule of its structure.

    Returns:
        its legal entries; None if it cannot be read at all, which is reported.
    """
    reader = _Reader(log)
    try:
        with _opened(path) as file:
            blocks = iter(lambda: file.read(BLOCK), b'')
            tables, _ = read_tables(path, blocks, reader.add)
    except OSError as error:
        log.add(STRUCTURE, str(path), f'cannot be read: {error.strerror}')
        return None
    except AnnotationError as error:
        log.add(STRUCTURE, str(path), str(error).removeprefix(f'{path}: '))
        return None
    return _columns(path, tables, reader)


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    size = path.stat().st_size
    text = f'Reading {path.name}'
    return rich.progress.open(path, 'rb', description=text, disable=size < LONG)


def _columns(path: Path, tables: dict[str, Table], reader: _Reader) -> Scanned:
    """The columns of the tables, their entries tied to each other."""
    log = reader.log
    given = tables['annotations'].given['instance_id'], tables['annotations'].length
    names = {name: _texts(tables[name]) for name in ('categories', 'videos', 'images')}
    columns = {name: _numbers(table) for name, table in tables.items()}
    lookup = {}
    for name, table in columns.items():
        order = np.argsort(table['id'], kind='stable')
        log.add_all(STRUCTURE, duplicate_ids(name, table['id'], order))
        lookup[name] = (table['id'][order], order)
    images, annotations = columns['images'], columns['annotations']
    video_of = _video_of(images, lookup['videos'], reader)
    order, offsets = _by_frame(images['frame_id'], video_of, len(names['videos']))
    torn = np.isin(columns['videos']['id'], list(reader.torn_videos))
    numbering = frame_numbering(
        images['id'], images['frame_id'], order, offsets, columns['videos']['id'], skip=torn
    )
    log.add_all(NUMBERING, numbering)
    image_of, category_of = _targets(annotations, lookup, reader)
    kept = (image_of >= 0) & (category_of >= 0)
    boxes, areas = annotations['bbox'][kept].astype(float), annotations['area'][kept].astype(float)
    ignored = annotations['ignore'][kept].astype(bool)
    return Scanned(
        path=path,
        categories=names['categories'],
        videos=names['videos'],
        file_names=names['images'],
        category_ids=columns['categories']['id'],
        video_ids=columns['videos']['id'],
        image_ids=images['id'],
        ann_ids=annotations['id'][kept],
        sizes=np.stack([images['width'], images['height']], axis=1),
        video_of=video_of,
        frame_ids=images['frame_id'],
        is_key=images['is_vid_train_frame'].astype(bool),
        order=order,
        offsets=offsets,
        image_of=image_of[kept],
        category_of=category_of[kept],
        boxes=boxes,
        areas=np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas),
        tracks=annotations['instance_id'][kept],
        counts=~ignored & ~annotations['iscrowd'][kept].astype(bool),
        ignored=ignored,
        has_tracks=given[0] == given[1] > 0,
    )


def _texts(table: Table) -> list[str]:
    arrays = table.texts.arrays('name')
    return [read_text(arrays, 'name', i) for i in range(table.length)]


def _numbers(table: Table) -> dict[str, np.ndarray]:
    names = [name for name in table.fields if name not in ('name', 'file_name')]
    return {name: table.column(name) for name in names}


def _video_of(images: dict, videos: tuple[np.ndarray, np.ndarray], reader: _Reader) -> np.ndarray:
    wanted = images['video_id']
    video_of = find(*videos, wanted)
    if not len(videos[0]):  # a set of images: none may name a video
        known = np.where(wanted == ABSENT, 0, -1)
    else:
        known = np.where(np.isin(wanted, list(reader.left_out['videos'])), 0, video_of)
    reader.log.add_all(STRUCTURE, unknown_videos(images['id'], wanted, known))
    return video_of


def _by_frame(
    frame_ids: np.ndarray, video_of: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    inside = np.flatnonzero(video_of >= 0)
    order = inside[np.lexsort((frame_ids[inside], video_of[inside]))]
    lengths = np.bincount(video_of[inside], minlength=count)
    return order, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _targets(annotations: dict, lookup: dict, reader: _Reader) -> Iterator[np.ndarray]:
    """Positions of the image and the category of each annotation."""
    for field, name in (('image_id', 'images'), ('category_id', 'categories')):
        known = find(*lookup[name], annotations[field])
        blamed = np.where(np.isin(annotations[field], list(reader.left_out[name])), 0, known)
        faults = unknown_ids(annotations['id'], field, annotations[field], blamed, name)
        reader.log.add_all(STRUCTURE, faults)
        yield known
