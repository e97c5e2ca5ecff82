"""From a CocoVID (or plain COCO) file to flat arrays: the rules between its entries.

Every broken rule is reported. The index stops at the first report; the checker collects them all
and goes on with the legal entries: one that breaks a rule is left out, and what refers to it is not
blamed. The rules that an entry must obey by itself are in `annotation_table`.

N: images, A: annotations, V: videos. *Position* means an index into such an array.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmdet.core.errors import AnnotationError
from mmdet.core.text import read_text
from mmdet.datasets.parsers.annotation_table import (
    ABSENT,
    SINGULAR,
    STRUCTURE,
    Report,
    Table,
    offsets_of,
)
from mmdet.datasets.parsers.json_stream import JSONStream

NUMBERING = 'frame numbering'  # the other kind of fault
Arrays = dict[str, np.ndarray]


def read_annotations(
    path: Path,
    blocks: Iterator[bytes],
    load_img_as_vid: bool = False,
    report: Report | None = None,
) -> tuple[Arrays, dict[str, Any]]:
    """Read, check and flatten an annotation file.

    Args:
        path: named in errors only.
        blocks: the bytes of the file.
        load_img_as_vid: make every image of a file without videos a video of one frame.
        report: takes the faults; None: the first one is raised.

    Returns:
        The arrays of `CocoVideoIndex`, and its plain values.

    Raises:
        AnnotationError: it is no annotation file, or, without `report`, the entry's id and the rule
            it breaks.
    """

    def refuse(_: str, entry: str, rule: str) -> None:
        raise AnnotationError(f'{path}: {entry}: {rule}')

    report = report or refuse
    tables, categories = _read_tables(path, blocks, report)
    ids = {name: Ids(table, report) for name, table in tables.items()}
    videos, images, annotations = (tables[name] for name in ('videos', 'images', 'annotations'))
    made_up = load_img_as_vid and not videos.length
    arrays = _image_arrays(images, videos, ids, made_up, report)
    arrays |= _video_arrays(arrays, images.left_out_ids('video_id'), report)
    arrays |= _annotation_arrays(tables, ids, report)
    if made_up:
        arrays['ann_instance_ids'] = arrays['ann_ids']
    tracked = annotations.length > 0 and 'instance_id' not in annotations.incomplete
    return arrays, {'categories': categories, 'has_track_ids': tracked and not made_up}


def _read_tables(
    path: Path, blocks: Iterator[bytes], report: Report
) -> tuple[dict[str, Table], list[dict]]:
    """The lists of the file as columns, and its categories as they stand."""
    tables: dict[str, Table] = {}
    categories: list[dict] = []
    try:
        for name, part in JSONStream(blocks):
            if name not in SINGULAR:
                continue
            if not isinstance(part, list):
                raise AnnotationError(f'{path}: `{name}`: must be a list')
            if not part:  # a new list; in JSON the last of two equal keys counts
                tables[name] = Table(name, report)
                categories = [] if name == 'categories' else categories
                continue
            legal = tables[name].add(part)
            categories += legal if name == 'categories' else []
    except AnnotationError:
        raise
    except UnicodeDecodeError as error:
        read_text(path, AnnotationError)  # says which line
        raise AnnotationError(f'{path}: not UTF-8 text ({error})') from error
    except ValueError as error:
        raise AnnotationError(f'{path}: not an annotation file: {error}') from error
    for name in ('images', 'annotations', 'categories'):
        if name not in tables:
            raise AnnotationError(f'{path}: `{name}`: the list is missing (it may be empty)')
    tables.setdefault('videos', Table('videos', report))
    return tables, categories


class Ids:
    """The ids of a list, in the order of the file, and where each stands. They must be unique."""

    def __init__(self, table: Table, report: Report) -> None:
        self.name, self.values, self.left_out = table.name, table.column('id'), table.left_out_ids()
        if (np.diff(self.values) > 0).all():
            self.order, self.sorted = np.arange(len(self.values), dtype=np.int32), self.values
            return
        self.order = np.argsort(self.values, kind='stable').astype(np.int32)
        self.sorted = self.values[self.order]
        for again in np.flatnonzero(np.diff(self.sorted) == 0):
            first, second = self.order[again : again + 2]
            rule = f'{self.name}[{first}] and {self.name}[{second}] share it'
            report(STRUCTURE, self.entry(first), f'the id must be unique, but {rule}')

    def entry(self, position: int) -> str:
        return f'{SINGULAR[self.name]} id {self.values[position]}'

    def positions(self, wanted: np.ndarray) -> np.ndarray:
        """Positions of the ids `wanted`, -1 where unknown."""
        return find(self.sorted, self.order, wanted)

    def unexplained(self, wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Which of `wanted` were not found, though no entry with their id was left out."""
        unknown = np.flatnonzero(found < 0)
        return unknown[~np.isin(wanted[unknown], self.left_out)] if self.left_out else unknown


def find(sorted_ids: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions of the ids `wanted`, -1 where unknown; `sorted_ids[i]` stands at `order[i]`."""
    if not len(sorted_ids):
        return np.full(np.shape(wanted), -1)
    at = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return np.where(sorted_ids[at] == wanted, order[at], -1)


def _image_arrays(
    images: Table, videos: Table, ids: dict[str, Ids], made_up: bool, report: Report
) -> Arrays:
    """Arrays per image, and the videos' ids and names; with `made_up`, each image is a video."""
    own, wanted = ids['images'], images.column('video_id')
    frame_ids, names = images.column('frame_id'), images.texts.arrays('image_name')
    video_ids, video_names = ids['videos'].values, videos.texts.arrays('video_name')
    if made_up:
        video_ids, video_of, frame_ids = own.values, np.arange(len(wanted)), 0 * frame_ids
        video_names = {key.replace('image_', 'video_', 1): names[key] for key in names}
    else:
        video_of = ids['videos'].positions(wanted)
        unknown = ids['videos'].unexplained(wanted, video_of)
        if not videos.length:  # a set of images: none may name a video
            unknown = unknown[wanted[unknown] != ABSENT]
        for image in unknown:
            video = wanted[image]
            named = (
                'has no `video_id`' if video == ABSENT else f'video id {video} is not in `videos`'
            )
            report(STRUCTURE, own.entry(image), named)
    arrays = {
        'image_ids': own.values,
        'image_ids_sorted': own.sorted,
        'image_id_order': own.order,
        'image_heights': images.column('height').astype(np.int32),
        'image_widths': images.column('width').astype(np.int32),
        'image_video': video_of.astype(np.int32),
        'image_frame_ids': frame_ids.astype(np.int32),
        'image_is_train_frame': images.column('is_vid_train_frame').astype(bool),
        'video_ids': video_ids,
    }
    return arrays | names | video_names


def _video_arrays(images: Arrays, torn: list[int], report: Report) -> Arrays:
    """The frames of every video in order; `torn` are ids of videos that an image is missing of."""
    frame_ids, video_of = images['image_frame_ids'], images['image_video']
    in_video = np.flatnonzero(video_of >= 0)
    order = in_video[np.lexsort((frame_ids[in_video], video_of[in_video]))]
    lengths = np.bincount(video_of[in_video], minlength=len(images['video_ids']))
    offsets = offsets_of(lengths)
    video_of = video_of[order]
    expected = np.arange(len(order)) - offsets[video_of]
    wrong = np.flatnonzero(frame_ids[order] != expected)
    _, first_of_video = np.unique(video_of[wrong], return_index=True)
    for at in wrong[first_of_video]:
        video = images['video_ids'][video_of[at]]
        if video not in torn:
            image_id, length = images['image_ids'][order[at]], lengths[video_of[at]]
            rule = _misnumbered(images, order, at, expected[at], video)
            legal = f'the frame ids of a video of {length} frames must be 0 to {length - 1}'
            report(NUMBERING, f'image id {image_id}', f'{rule}; {legal}, each once')
    return {'video_offsets': offsets, 'video_images': order.astype(np.int32)}


def _misnumbered(images: Arrays, order: np.ndarray, at: int, expected: int, video: int) -> str:
    """What is wrong with the first frame of a video that has not the number it should have."""
    given = images['image_frame_ids'][order[at]]
    if given < 0:
        return 'has no `frame_id`, or a negative one'
    if given < expected:
        twin = images['image_ids'][order[at - 1]]
        return f'frame_id {given} of video id {video} is already that of image id {twin}'
    return f'frame_id {given} follows, but frame_id {expected} of video id {video} is missing'


def _annotation_arrays(tables: dict[str, Table], ids: dict[str, Ids], report: Report) -> Arrays:
    """Arrays per annotation, grouped by image; in an image they keep the order of the file."""
    annotations, own = tables['annotations'], ids['annotations']
    image_of = _targets(annotations.column('image_id'), 'image_id', own, ids['images'], report)
    categories = annotations.column('category_id')
    kept = _targets(categories, 'category_id', own, ids['categories'], report) >= 0
    kept &= image_of >= 0
    if kept.all() and (np.diff(image_of) >= 0).all():
        order = slice(None)  # as the converters write it
    else:
        order = np.flatnonzero(kept)
        order = order[np.argsort(image_of[order], kind='stable')]
    counts = np.bincount(image_of[order], minlength=tables['images'].length)
    del image_of, kept
    boxes, areas = annotations.column('bbox')[order], annotations.column('area')[order]
    return {
        'ann_offsets': offsets_of(counts),
        'ann_ids': own.values[order],
        'ann_boxes': boxes,
        'ann_categories': _narrow(categories[order]),
        'ann_areas': np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas),
        'ann_instance_ids': annotations.column('instance_id')[order],
        'ann_iscrowd': annotations.column('iscrowd')[order].astype(bool),
        'ann_ignore': annotations.column('ignore')[order].astype(bool),
    }


def _targets(values: np.ndarray, field: str, own: Ids, others: Ids, report: Report) -> np.ndarray:
    """[A] positions of what the annotations name in a field, -1 where it is not there."""
    found = others.positions(values)
    for i in others.unexplained(values, found):
        report(STRUCTURE, own.entry(i), f'{field} {values[i]} is not in `{others.name}`')
    return found


def _narrow(ids: np.ndarray) -> np.ndarray:
    """int32 where it holds the ids, which are hashes or times in some files."""
    return ids.astype(np.int32) if abs(ids).max(initial=0) <= np.iinfo(np.int32).max else ids
