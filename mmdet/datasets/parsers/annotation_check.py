"""From a CocoVID (or plain COCO) file to flat arrays, and the rules between its entries.

N: images, A: annotations, V: videos. Rules of a single entry are in `annotation_table`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .annotation_table import ABSENT, SINGULAR, AnnotationError, Table, fail
from .json_stream import JSONStream

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
    tables, categories = _tables(path, blocks)
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


def _tables(path: Path, blocks: Iterator[bytes]) -> tuple[dict[str, Table], list[dict]]:
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
            tables[name].add(part)
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
    again = np.flatnonzero(np.diff(ids[order]) == 0)
    if again.size:
        first, second = order[again[0]], order[again[0] + 1]
        fail(
            path,
            f'{SINGULAR[name]} id {ids[first]}',
            f'the id must be unique, but {name}[{first}] and {name}[{second}] share it',
        )
    return order


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
        _refuse_unknown_video(path, ids, wanted, video_of)
    elif load_img_as_vid:
        video_ids, video_of, frame_ids = ids, np.arange(len(ids)), np.zeros(len(ids), np.int64)
        video_names = {key.replace('image_', 'video_', 1): names[key] for key in names}
    else:
        video_ids, video_names = np.empty(0, np.int64), videos.texts.arrays('video_name')
        wanted = images.column('video_id')
        video_of = np.full(len(ids), -1)
        _refuse_unknown_video(path, ids, wanted, np.where(wanted == ABSENT, 0, -1))
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


def _refuse_unknown_video(
    path: Path, ids: np.ndarray, wanted: np.ndarray, video_of: np.ndarray
) -> None:
    unknown = np.flatnonzero(video_of < 0)
    if unknown.size:
        video = wanted[unknown[0]]
        rule = 'has no `video_id`' if video == ABSENT else f'video id {video} is not in `videos`'
        fail(path, f'image id {ids[unknown[0]]}', rule)


def _video_arrays(path: Path, images: Arrays, video_of: np.ndarray) -> Arrays:
    """The frames of every video in order; their frame ids must be 0..n-1."""
    frame_ids, ids = images['image_frame_ids'], images['image_ids']
    count = len(images['video_ids'])
    in_video = np.flatnonzero(video_of >= 0)
    order = in_video[np.lexsort((frame_ids[in_video], video_of[in_video]))]
    lengths = np.bincount(video_of[in_video], minlength=count)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    expected = np.arange(len(order)) - offsets[video_of[order]]
    wrong = np.flatnonzero(frame_ids[order] != expected)
    if wrong.size:
        image, frame = order[wrong[0]], expected[wrong[0]]
        given = frame_ids[image]
        video = images['video_ids'][video_of[image]]
        if given < 0:
            rule = 'has no `frame_id`, or a negative one'
        elif given < frame:
            twin = ids[order[wrong[0] - 1]]
            rule = f'frame_id {given} of video id {video} is already that of image id {twin}'
        else:
            rule = f'frame_id {given} follows, but frame_id {frame} of video id {video} is missing'
        fail(
            path,
            f'image id {ids[image]}',
            f'{rule}; the frame ids of a video of {lengths[video_of[image]]} frames must be '
            f'0 to {lengths[video_of[image]] - 1}, each once',
        )
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
        unknown = np.flatnonzero(known < 0)
        if unknown.size:
            rule = f'{field} {values[unknown[0]]} is not in `{name}`'
            fail(path, f'annotation id {ids[unknown[0]]}', rule)
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
        'ann_categories': categories[order].astype(np.int32),
        'ann_areas': np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas),
        'ann_instance_ids': annotations.column('instance_id')[order],
        'ann_iscrowd': annotations.column('iscrowd')[order].astype(bool),
        'ann_ignore': annotations.column('ignore')[order].astype(bool),
    }
