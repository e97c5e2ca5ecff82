"""Pascal VOC: one XML file per frame. Frames without one have no objects.

Coordinates are taken as they stand, width = xmax - xmin, as for ImageNet VID. Beside the fields of
VOC, `<trackid>` (or `<track_id>`, or CVAT's attribute `track_id`) and `<occluded>` are read.
`<difficult>` objects become crowds.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from mmdet.core.errors import ConversionError
from mmdet.core.text import read_xml
from mmdet.programs.convert.frame_folders import checked_size
from mmdet.programs.convert.label_files import LayoutOptions, open_label_files
from mmdet.programs.convert.records import ObjectRecord, Source, is_true, parse_number

TRACK_FIELDS = ('trackid', 'track_id')
SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


def open_voc(roots: Sequence[Path], options: LayoutOptions) -> Source:
    """Find the videos and XML files of VOC datasets; see `label_files` for the layouts."""
    return open_label_files(roots, '.xml', options, _read_objects)


def _read_objects(path: Path, image: Path, _: tuple[int, int]) -> list[ObjectRecord]:
    root = read_xml(path, ConversionError)
    sides = [root.findtext(f'size/{side}') for side in ('width', 'height')]
    if None not in sides:
        size = tuple(parse_number(text, '<size>', str(path)) for text in sides)
        checked_size(image, size if any(size) else None, str(path))  # some tools write 0 x 0
    nodes = enumerate(root.findall('object'), 1)
    return [_object(node, f'object {number} of {path}') for number, node in nodes]


def _object(node: Element, origin: str) -> ObjectRecord:
    name = (node.findtext('name') or '').strip()
    if not name:
        raise ConversionError(f'{origin}: it has no <name>')
    xmin, ymin, xmax, ymax = (
        parse_number(node.findtext(f'bndbox/{side}'), f'<bndbox>/<{side}>', origin)
        for side in SIDES
    )
    return ObjectRecord(
        name,
        (xmin, ymin, xmax - xmin, ymax - ymin),
        origin,
        track=_track(node),
        occluded=is_true(node.findtext('occluded')),
        crowd=is_true(node.findtext('difficult')),
    )


def _track(node: Element) -> str | None:
    for field in TRACK_FIELDS:
        if node.findtext(field):
            return node.findtext(field).strip()
    for attribute in node.iterfind('attributes/attribute'):
        if attribute.findtext('name') in TRACK_FIELDS:
            return attribute.findtext('value')
    return None
