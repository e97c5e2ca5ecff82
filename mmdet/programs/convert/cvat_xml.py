"""Elements of CVAT's XML 1.1: what both of its formats, for video and for images, share."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from mmdet.core.errors import ConversionError
from mmdet.core.text import xml_events
from mmdet.programs.convert.records import parse_integer, parse_number

SHAPES = ('box', 'polygon', 'polyline', 'ellipse', 'mask')  # what has a box; not points, skeletons
OTHER_SHAPES = ('points', 'cuboid', 'skeleton')
Box = tuple[float, float, float, float]


@dataclass
class Task:
    """What <meta> says of one task; frames are numbers in the video file, both ends included."""

    id: str
    name: str
    source: str
    size: int | None  # frames
    start: int
    stop: int | None
    step: int
    original_size: tuple[int, int] | None  # width, height


def top_elements(path: Path) -> Iterator[Element]:
    """The children of the root one by one, each dropped before the next: files can be large.

    Raises:
        ConversionError: not XML, or not CVAT's; names the file.
    """
    root, depth = None, 0
    for event, element in xml_events(path, ConversionError):
        if root is None:
            root = element
            if root.tag != 'annotations':
                raise ConversionError(
                    f'{path} is not a CVAT file: its root is <{root.tag}>, not <annotations>. '
                    f'Export the task as "CVAT for video 1.1" or "CVAT for images 1.1".'
                )
        depth += 1 if event == 'start' else -1
        if event == 'end' and depth == 1:
            yield element
            root.clear()


def read_tasks(meta: Element, path: Path) -> tuple[list[Task], list[str]]:
    """The tasks of <meta> (one, or those of a project) and the names of the labels."""
    nodes = list(meta.iter('task')) or list(meta.iter('job'))
    labels = [text for node in meta.iter('label') if (text := node.findtext('name'))]
    return [_task(node, path) for node in nodes], list(dict.fromkeys(labels))


def _task(node: Element, path: Path) -> Task:
    def number(field: str, default: int | None) -> int | None:
        text = node.findtext(field)
        return parse_integer(text, f'<{field}> of <{node.tag}>', str(path)) if text else default

    step = (node.findtext('frame_filter') or '').partition('step=')[2]
    width, height = number('original_size/width', None), number('original_size/height', None)
    return Task(
        id=node.findtext('id') or '',
        name=node.findtext('name') or '',
        source=node.findtext('source') or '',
        size=number('size', None),
        start=number('start_frame', 0),
        stop=number('stop_frame', None),
        step=parse_integer(step, '<frame_filter>', str(path)) if step else 1,
        original_size=(width, height) if width and height else None,
    )


def shape_box(node: Element, origin: str) -> Box:
    """(x, y, width, height) of a shape; the upright box around one that is turned or no box.

    Raises:
        ConversionError: a coordinate is missing or no number.
    """

    def number(name: str) -> float:
        return parse_number(node.get(name), f'{name} of <{node.tag}>', origin)

    if node.tag == 'mask':
        return tuple(number(name) for name in ('left', 'top', 'width', 'height'))
    if node.tag == 'box':
        x1, y1, x2, y2 = (number(name) for name in ('xtl', 'ytl', 'xbr', 'ybr'))
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    elif node.tag == 'ellipse':
        cx, cy, rx, ry = (number(name) for name in ('cx', 'cy', 'rx', 'ry'))
        corners = [(cx - rx, cy - ry), (cx + rx, cy + ry)]
        x1, y1, x2, y2 = (*corners[0], *corners[1])
    else:
        pairs = [pair.split(',') for pair in (node.get('points') or '').split(';')]
        if any(len(pair) != 2 for pair in pairs):
            raise ConversionError(f'{origin}: points of <{node.tag}> are no pairs x,y;x,y;...')
        corners = [tuple(parse_number(v, 'a point', origin) for v in pair) for pair in pairs]
    if node.tag in ('box', 'ellipse') and number_or_zero(node, 'rotation', origin):
        angle = math.radians(number_or_zero(node, 'rotation', origin))
        return _turned(node.tag, x1, y1, x2, y2, angle)
    xs, ys = zip(*corners, strict=True)
    if node.tag == 'box':  # may be given the wrong way round: then it is empty, and reported
        return x1, y1, x2 - x1, y2 - y1
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def number_or_zero(node: Element, name: str, origin: str) -> float:
    return parse_number(node.get(name, '0'), f'{name} of <{node.tag}>', origin)


def _turned(tag: str, x1: float, y1: float, x2: float, y2: float, angle: float) -> Box:
    """The upright box around a box or ellipse turned about its centre; angle in radians."""
    half_w, half_h = (x2 - x1) / 2, (y2 - y1) / 2
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    if tag == 'ellipse':
        half_x = math.hypot(half_w * cos, half_h * sin)
        half_y = math.hypot(half_w * sin, half_h * cos)
    else:
        half_x, half_y = half_w * cos + half_h * sin, half_w * sin + half_h * cos
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    return cx - half_x, cy - half_y, 2 * half_x, 2 * half_y


def label_of(node: Element, origin: str) -> str:
    name = node.get('label')
    if not name:
        raise ConversionError(f'{origin}: <{node.tag}> has no label')
    return name


def is_set(node: Element, name: str) -> bool:
    return node.get(name) in ('1', 'True', 'true')
