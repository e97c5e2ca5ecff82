"""What every reader of a foreign annotation format gives: plain records, video by video.

A reader finds out first what there is (`Source`), so that videos can be split and counted, and
reads the annotations of one video at a time, so that memory holds one video's objects.
"""

import math
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from mmdet.core.errors import ConversionError
from mmdet.core.text import read_rows

Box = tuple[float, float, float, float]  # x, y of the top left corner, width, height, in pixels


@dataclass(slots=True)
class ObjectRecord:
    """One labelled object in one frame.

    `origin` is the file and row or element it comes from; `track` the same for the same object in
    all frames of the video, None where it is unknown; `generated` whether a program interpolated
    the box; `crowd` marks what is no object to learn or find, though a detection of it is not wrong
    (`iscrowd`); `area` in pixels where the source has that of a mask, None: that of the box.
    """

    name: str
    bbox: Box
    origin: str
    track: Hashable | None = None
    occluded: bool = False
    generated: bool = False
    crowd: bool = False
    area: float | None = None


@dataclass(slots=True)
class FrameRecord:
    """A frame with its objects. `file_name` is relative to the image root, sizes are in pixels.

    `is_key` says whether it is a key frame in training, None where the source does not know;
    `labelled` is False where the source says nothing about the frame.
    """

    file_name: str
    width: int
    height: int
    objects: list[ObjectRecord]
    labelled: bool = True
    is_key: bool | None = None


@dataclass
class VideoSource:
    """A video whose annotations `read` yields, frame by frame in order, `num_frames` in all.

    `fps` is in frames per second, None where unknown.
    """

    name: str
    num_frames: int
    read: Callable[[], Iterator[FrameRecord]]
    fps: float | None = None


@dataclass
class Source:
    """Everything a reader found.

    Attributes:
        videos: in the order they are written.
        classes: names in the order of their ids; None: those that occur, sorted.
        keep_unused: keep classes without objects.
        notes: what the user should know, one sentence each; reading may add to it.
    """

    videos: list[VideoSource]
    classes: list[str] | None = None
    keep_unused: bool = True
    notes: list[str] = field(default_factory=list)


def check_tracks(objects: Sequence[ObjectRecord]) -> list[ObjectRecord]:
    """The objects of a frame, in which no track may be twice."""
    first: dict[Hashable, ObjectRecord] = {}
    for record in objects:
        if record.track is None or record.crowd:
            continue
        if record.track in first:
            raise ConversionError(
                f'{record.origin}: the track {record.track} is already that of '
                f'{first[record.track].origin}, in the same frame. One object has one box in a '
                f'frame: give one of the two another track id, or none.'
            )
        first[record.track] = record
    return list(objects)


def parse_number(text: str | None, what: str, origin: str) -> float:
    """A finite number from text; an error names what and where it should be."""
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        given = 'missing' if text is None else f'{text!r}, not a finite number'
        raise ConversionError(f'{origin}: {what} is {given}')
    return number


def parse_integer(text: str | None, what: str, origin: str) -> int:
    """A whole number from text; 3.0 counts as one."""
    number = parse_number(text, what, origin)
    if number != int(number):
        raise ConversionError(f'{origin}: {what} is {text!r}, not a whole number')
    return int(number)


def is_true(text: str | None) -> bool:
    """A flag of an XML file is set."""
    return (text or '').strip() in ('1', 'True', 'true')


def named_rows(path) -> list[tuple[str, str]]:
    """(origin, text) of the rows of a text file that are not blank."""
    return [(f'row {i} of {path}', text) for i, text in read_rows(path, ConversionError)]


def split_row(line: str) -> list[str]:
    """The fields of a row separated by commas, blanks or tabs."""
    return [part for part in re.split(r'[,\s]+', line) if part]
