"""ILSVRC annotation files: image size and objects of one, or of a batch as flat numbers."""

import os
from array import array
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from mmdet.core.errors import ILSVRCError
from mmdet.core.text import read_xml
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS

# The name is misspelt in every file of this kind that is in use, so it stays.
OTHER_CATEGORY = {'id': len(IMAGENET_VID_CLASSES) + 1, 'name': 'other_categeries'}

# Numbers per box: frame in its batch, category, x, y, w, h, track in its batch, occluded, generated
READ_FIELDS = 9
MAX_COORDINATE = 2**31 - 1  # so that the area, too, fits 64 bits


@dataclass
class Batch:
    """Files that one worker reads in one go: all frames of a video, or some DET images.

    Names are relative to Annotations/{VID,DET}, without suffix; an origin is the list row that asks
    for the file, '' where none does; `video_id` is 0 for DET.
    """

    names: list[str]
    origins: list[str]
    is_key: list[bool]
    video_id: int = 0


@dataclass(slots=True)
class XMLObject:
    """`bbox` is (x, y, w, h) in whole pixels, w = xmax - xmin; the last three are VID's only."""

    wnid: str
    bbox: tuple[int, int, int, int]
    track: str = ''
    occluded: bool = False
    generated: bool = False


def read_batch(batch: Batch, folder: str, images: str | None) -> tuple[array, array]:
    """(sizes, boxes) of a batch: width and height per file, READ_FIELDS numbers per box."""
    category_ids = {wnid: i for i, wnid in enumerate(IMAGENET_VID_WNIDS, 1)}
    other = 0 if batch.video_id else OTHER_CATEGORY['id']  # VID leaves foreign classes out
    tracks: dict[str, int] = {}
    sizes, boxes = array('q'), array('q')
    for frame, (name, origin) in enumerate(zip(batch.names, batch.origins, strict=True)):
        try:
            width, height, objects = parse_xml(f'{folder}/{name}.xml', tracks=batch.video_id > 0)
            if images and origin and not os.path.isfile(f'{images}/{name}.JPEG'):
                raise ILSVRCError(f'{images}/{name}.JPEG is missing')
            sizes.extend((width, height))
            for found in objects:
                category = category_ids.get(found.wnid, other)
                if category:
                    track = tracks.setdefault(found.track, len(tracks))
                    flags = (found.occluded, found.generated)
                    boxes.extend((frame, category, *found.bbox, track, *flags))
        except ILSVRCError as error:
            asked = f'asked for by {origin}' if origin else 'an image that no list row names'
            raise ILSVRCError(f'{error}; {asked}.') from None
    return sizes, boxes


def parse_xml(path: str, tracks: bool) -> tuple[int, int, list[XMLObject]]:
    """(width, height, objects) of an annotation file; with `tracks`, the VID fields as well.

    A box may have no area or a negative side (the dataset drops it on loading).

    Raises:
        ILSVRCError: the file is missing, unreadable, not XML, or lacks a field; names the file.
    """
    root = read_xml(Path(path), ILSVRCError)
    try:
        width, height = _integer(root, 'size/width'), _integer(root, 'size/height')
        if width < 1 or height < 1:
            raise ValueError(f'<size> is {width} x {height}')
        return width, height, [_object(node, tracks) for node in root.findall('object')]
    except ValueError as error:
        raise ILSVRCError(f'{path}: {error}') from error


def _object(node: Element, tracks: bool) -> XMLObject:
    xmin, ymin, xmax, ymax = (
        _integer(node, f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax')
    )
    found = XMLObject(_text(node, 'name'), (xmin, ymin, xmax - xmin, ymax - ymin))
    if tracks:
        found.track = _text(node, 'trackid')
        found.occluded = _text(node, 'occluded') == '1'
        found.generated = _text(node, 'generated') == '1'
    return found


def _text(node: Element, field: str) -> str:
    text = (node.findtext(field) or '').strip()
    if not text:
        raise ValueError(f'<{node.tag}> has no <{field}>')
    return text


def _integer(node: Element, field: str) -> int:
    text = _text(node, field)
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f'<{field}> of <{node.tag}> is {text!r}, not a whole number') from None
    if abs(number) > MAX_COORDINATE:
        raise ValueError(f'<{field}> of <{node.tag}> is {text}, more than {MAX_COORDINATE}')
    return number
