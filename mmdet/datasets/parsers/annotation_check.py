"""From a CocoVID (or plain COCO) file to flat arrays; the first rule that is broken ends it.

N: images, A: annotations, V: videos. Rules of a single entry are in `annotation_table`, those
between entries in `annotation_rules`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmdet.core.errors import AnnotationError
from mmdet.datasets.parsers.annotation_rules import (
    Fault,
    duplicate_ids,
    frame_numbering,
    unknown_ids,
    unknown_videos,
)
from mmdet.datasets.parsers.annotation_table import ABSENT, SINGULAR, Table, fail
from mmdet.datasets.parsers.json_stream import JSONStream

Arrays = dict[str, np.ndarray]


def read_annotations(
    path: Path, blocks: Iterator[bytes], load_img_as_vid: bool = False
) -> tuple[Arrays, dict[str, Any]]:
    """Read, check and flatten an annotation file.

    Args:
        path: named in errors only.
        blocks: the bytes of the file.
        load_img_as_vid: make every image of a file without videos a video of one frame.

    Returns:
        The arrays of `CocoVideoIndex`, and its plain values.

    Raises:
        AnnotationError: the file, the entry's id and the rule it breaks.
    """
    tables, categories = read_tables(path, blocks)
    videos, images, annotations = (tables[name] for name in ('videos', 'images', 'annotations'))
    category_ids = tables['categories'].column('id')
    _order(path, 'categories', category_ids)

    arrays, video_of = _image_arrays(path, videos, images, load_img_as_vid)
    arrays |= _video_arrays(path, arrays, video_of)
    arrays |= _annotation_arrays(path, arrays, annotations, category_ids)
    made_up = load_img_as_vid and not videos.length
    if made_up:
        arrays['ann_instance_ids'] = arrays['ann_ids']
    tracked = annotations.given['instance_id'] == annotations.length > 0
    return arrays, {
        'categories': categories,
        'has_track_ids': tracked and not made_up,
        'has_train_flags': images.given['is_vid_train_frame'] > 0,
    }


def read_tables(
    path: Path, blocks: Iterator[bytes], add: Callable[[Table, list], None] = Table.add
) -> tuple[dict[str, Table], list[dict]]:
    """The lists of an annotation file as columns, and its categories as they stand.

    Args:
        path: named in errors only.
        blocks: the bytes of the file.
        add: puts some entries into a table.

    Raises:
        AnnotationError: it is no such file, or what `add` raises.
    """
    tables: dict[str, Table] = {}
    categories: list[dict] = []
    try:
        for name, part in JSONStream(blocks):
            if name not in SINGULAR:
                continue
            if not isinstance(part, list):
                fail(path, f'`{name}`', 'must be a list')
            if not part:  # a new list; in JSON the last of two equal keys counts
                tables[name] = Table(path, name)
                categories = [] if name == 'categories' else categories
                continue
            add(tables[name], part)
            if name == 'categories':
                categories += part
    except AnnotationError:
        raise
    except UnicodeDecodeError as error:
        raise AnnotationError(f'{path}: not UTF-8 text ({error})') from error
    except ValueError as error:
        raise AnnotationError(f'{path}: not an annotation file: {error}') from error
    for name in ('images', 'annotations', 'categories'):
        if name not in tables:
            fail(path, f'`{name}`', 'the list is missing (it may be empty)')
    tables.setdefault('videos', Table(path, 'videos'))
    return tables, categories


def _order(path: Path, name: str, ids: np.ndarray) -> np.ndarray:
    """Positions in ascending order of the ids, which must be unique."""
    if (np.diff(ids) > 0).all():
        return np.arange(len(ids))
    order = np.argsort(ids, kind='stable')
    _refuse_first(path, duplicate_ids(name, ids, order))
    return order


def _refuse_first(path: Path, faults: Iterator[Fault]) -> None:
    for entry, rule in faults:
        fail(path, entry, rule)


def find(sorted_ids: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions of the ids `wanted`, -1 where unknown; `sorted_ids[i]` stands at `order[i]`."""
    if not len(sorted_ids):
        return np.full(np.shape(wanted), -1)
    at = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return np.where(sorted_ids[at] == wanted, order[at], -1)


def _image_arrays(
    path: Path, videos: Table, images: Table, load_img_as_vid: bool
) -> tuple[Arrays, np.ndarray]:
    """Arrays per image and the videos' names; and the position of each image's video."""
    ids = images.column('id')
    order = _order(path, 'images', ids)
    frame_ids = images.column('frame_id')
    names = images.texts.arrays('image_name')
    if videos.length:
        video_ids, video_names = videos.column('id'), videos.texts.arrays('video_name')
        wanted = images.column('video_id')
        video_order = _order(path, 'videos', video_ids)
        video_of = find(video_ids[video_order], video_order, wanted)
        _refuse_first(path, unknown_videos(ids, wanted, video_of))
    elif load_img_as_vid:
        video_ids, video_of, frame_ids = ids, np.arange(len(ids)), np.zeros(len(ids), np.int64)
        video_names = {key.replace('image_', 'video_', 1): names[key] for key in names}
    else:
        video_ids, video_names = np.empty(0, np.int64), videos.texts.arrays('video_name')
        wanted = images.column('video_id')
        video_of = np.full(len(ids), -1)
        # without a list of videos no image may name one
        _refuse_first(path, unknown_videos(ids, wanted, np.where(wanted == ABSENT, 0, -1)))
    arrays = {
        'image_ids': ids,
        'image_ids_sorted': ids[order],
        'image_id_order': order.astype(np.int32),
        'image_heights': images.column('height').astype(np.int32),
        'image_widths': images.column('width').astype(np.int32),
        'image_video': video_of.astype(np.int32),
        'image_frame_ids': frame_ids.astype(np.int32),
        'image_is_train_frame': images.column('is_vid_train_frame').astype(bool),
        'video_ids': video_ids,
    }
    return arrays | names | video_names, video_of


def _video_arrays(path: Path, images: Arrays, video_of: np.ndarray) -> Arrays:
    """The frames of every video in order; their frame ids must be 0..n-1."""
    frame_ids, ids = images['image_frame_ids'], images['image_ids']
    count = len(images['video_ids'])
    in_video = np.flatnonzero(video_of >= 0)
    order = in_video[np.lexsort((frame_ids[in_video], video_of[in_video]))]
    lengths = np.bincount(video_of[in_video], minlength=count)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    _refuse_first(path, frame_numbering(ids, frame_ids, order, offsets, images['video_ids']))
    return {'video_offsets': offsets, 'video_images': order.astype(np.int32)}


def _annotation_arrays(
    path: Path, images: Arrays, annotations: Table, category_ids: np.ndarray
) -> Arrays:
    """Arrays per annotation, grouped by image; in an image they keep the order of the file."""
    ids, image_ids = annotations.column('id'), annotations.column('image_id')
    _order(path, 'annotations', ids)
    image_of = find(images['image_ids_sorted'], images['image_id_order'], image_ids)
    categories = annotations.column('category_id')
    category_order = np.argsort(category_ids)
    category_of = find(category_ids[category_order], category_order, categories)
    for field, values, known, name in (
        ('image_id', image_ids, image_of, 'images'),
        ('category_id', categories, category_of, 'categories'),
    ):
        _refuse_first(path, unknown_ids(ids, field, values, known, name))
    del image_ids, category_of
    counts = np.bincount(image_of, minlength=len(images['image_ids']))
    grouped = (np.diff(image_of) >= 0).all()
    order = slice(None) if grouped else np.argsort(image_of, kind='stable')
    del image_of
    boxes, areas = annotations.column('bbox')[order], annotations.column('area')[order]
    return {
        'ann_offsets': np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        'ann_ids': ids[order],
        'ann_boxes': boxes,
        'ann_categories': _narrow(categories[order]),
        'ann_areas': np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas),
        'ann_instance_ids': annotations.column('instance_id')[order],
        'ann_iscrowd': annotations.column('iscrowd')[order].astype(bool),
        'ann_ignore': annotations.column('ignore')[order].astype(bool),
    }


def _narrow(ids: np.ndarray) -> np.ndarray:
    """int32 where it holds the ids, which are hashes or times in some files."""
    return ids.astype(np.int32) if abs(ids).max(initial=0) <= np.iinfo(np.int32).max else ids
