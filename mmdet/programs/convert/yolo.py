"""YOLO text labels: one file per frame, rows `class cx cy w h`, in parts of the image size.

Further columns as the tools of this format write them: a track id (six columns), or a confidence
and a track id (seven); an outline `class x1 y1 x2 y2 x3 y3 ...` becomes the box around it. A frame
without a file, or with an empty one, has no objects.
"""

from collections.abc import Sequence
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.programs.convert.label_files import LayoutOptions, open_label_files
from mmdet.programs.convert.name_files import find_names
from mmdet.programs.convert.records import (
    Box,
    ObjectRecord,
    Source,
    named_rows,
    parse_integer,
    parse_number,
)

SLACK = 0.01  # how far a value may lie outside of 0..1, from rounding


def open_yolo(roots: Sequence[Path], options: LayoutOptions) -> Source:
    """Find the videos, labels and class names of YOLO datasets.

    Class names come from data.yaml, obj.names or classes.txt in the folders or in up to two above,
    else from the options.
    """
    names, origin = _common_names(roots, options.classes)

    def read(label: Path, _: Path, size: tuple[int, int]) -> list[ObjectRecord]:
        objects = []
        for place, text in named_rows(label):
            class_id, (x, y, w, h), track = _parse_row(text, place)
            if not 0 <= class_id < len(names):
                raise ConversionError(
                    f'{place}: class {class_id} is not one of the {len(names)} names (0 to '
                    f'{len(names) - 1}) of {origin}'
                )
            box = (x * size[0], y * size[1], w * size[0], h * size[1])
            objects.append(ObjectRecord(names[class_id], box, place, track))
        return objects

    source = open_label_files(roots, '.txt', options, read, names)
    source.notes.insert(0, f'Class names from {origin}.')
    return source


def _common_names(roots: Sequence[Path], given: Sequence[str] | None) -> tuple[list[str], str]:
    """The class names of all roots, and where they come from."""
    found = [find_names(root) for root in roots]
    for names, path in found[1:]:
        if names != found[0][0]:
            raise ConversionError(f'{found[0][1]} and {path} name different classes: convert one.')
    names, path = found[0]
    if names is not None:
        return names, str(path)
    if given:
        return list(given), '--classes'
    raise ConversionError(
        f'There are no class names for {roots[0]}: neither data.yaml nor obj.names nor classes.txt '
        f'in it or the two folders above. Name the classes 0, 1, ... with --classes.'
    )


def _parse_row(text: str, origin: str) -> tuple[int, Box, int | None]:
    """(class, box in parts of the image, track id or None) of a row."""
    fields = text.split()
    if len(fields) < 5 or (len(fields) > 7 and len(fields) % 2 == 0):
        raise ConversionError(
            f'{origin}: {len(fields)} columns ({text.strip()!r:.80}). Legal: class cx cy w h, then '
            f'perhaps a track id, or a confidence and a track id; or class and an outline x1 y1 ...'
        )
    class_id = parse_integer(fields[0], 'the class (column 1)', origin)
    if len(fields) >= 7 and not (len(fields) == 7 and fields[6].isdecimal()):
        return class_id, _box_around(_parts(fields[1:], origin)), None
    cx, cy, w, h = _parts(fields[1:5], origin)
    track = None
    if len(fields) == 6 and not fields[5].lstrip('-').replace('.0', '').isdecimal():
        raise ConversionError(
            f'{origin}: column 6 is {fields[5]!r}. A sixth column must be a track id, a whole '
            f'number; is it a confidence? Ground truth has none: take the column away.'
        )
    if len(fields) > 5:
        track = parse_integer(fields[-1], f'the track id (column {len(fields)})', origin)
    return class_id, (cx - w / 2, cy - h / 2, w, h), track if track != -1 else None


def _parts(fields: list[str], origin: str) -> list[float]:
    """Numbers that are parts of the image size."""
    values = []
    for column, text in enumerate(fields, 2):
        value = parse_number(text, f'column {column}', origin)
        if not -SLACK <= value <= 1 + SLACK:
            raise ConversionError(
                f'{origin}: column {column} is {text}, not in 0..1. Coordinates must be divided by '
                f'the width and height of the image; are these pixels?'
            )
        values.append(value)
    return values


def _box_around(outline: list[float]) -> Box:
    xs, ys = outline[0::2], outline[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
