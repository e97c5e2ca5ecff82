"""CVAT XML 1.1, for video (<track>) and for images (<image>), and the frames that belong to it.

For video: CVAT writes the box of every frame of a track; where frames are missing between two of
them (other tools write key frames only, or the task had a frame step) the box is interpolated
linearly. A box with outside="1" ends the track until the next one; a track without it stays to the
last frame. All this is what CVAT shows.

The frames of a video are looked for beside the XML file and in the image root, in a folder (or
video file) called like the task's source, the task, or the XML file, or in `images`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.programs.convert.cvat_images import open_cvat_images
from mmdet.programs.convert.cvat_xml import (
    OTHER_SHAPES,
    SHAPES,
    Box,
    Element,
    Task,
    is_set,
    label_of,
    read_tasks,
    shape_box,
    top_elements,
)
from mmdet.programs.convert.frames import FrameFolder, find_frames, image_size, relative_name
from mmdet.programs.convert.label_files import LayoutOptions
from mmdet.programs.convert.records import (
    FrameRecord,
    ObjectRecord,
    Source,
    VideoSource,
    parse_integer,
)


@dataclass(slots=True)
class _Shape:
    """A box of a track; `frame` is the number in the XML, `box` None where it is outside."""

    frame: int
    box: Box
    outside: bool
    occluded: bool
    keyframe: bool
    origin: str


@dataclass
class _Video:
    path: Path
    task: Task
    frames: FrameFolder
    first: int  # the number in the XML of the first frame
    step: int  # between the numbers in the XML of two frames

    def position(self, number: int, origin: str) -> int:
        """Which frame (from 0) has this number in the XML.

        Raises:
            ConversionError: none.
        """
        position, rest = divmod(number - self.first, self.step)
        if rest or not 0 <= position < len(self.frames.files):
            last = self.first + self.step * (len(self.frames.files) - 1)
            raise ConversionError(
                f'{origin}: frame {number} is not in {self.first}..{last} (step {self.step}): '
                f'{self.frames.files[0].parent} gives {len(self.frames.files)} frames.'
            )
        return position


def open_cvat(inputs: Sequence[Path], options: LayoutOptions) -> Source:
    """Find the videos of CVAT files.

    Args:
        inputs: XML files, or folders with annotations.xml.
        options: image root, and how images become videos.

    Raises:
        ConversionError: not such a file, or its frames are missing or differ in number.
    """
    merged = Source([], [])
    for path in map(_xml_file, inputs):
        merged.videos += _open_file(path, options, merged)
    merged.classes = list(dict.fromkeys(merged.classes))
    return merged


def _xml_file(path: Path) -> Path:
    if path.suffix == '.zip':
        raise ConversionError(f'{path}: unpack it, and give the annotations.xml inside.')
    if path.is_dir():
        path = path / 'annotations.xml'
    if not path.is_file():
        raise ConversionError(f'There is no CVAT file {path}.')
    return path


def _open_file(path: Path, options: LayoutOptions, merged: Source) -> list[VideoSource]:
    """The videos of a file; its labels and notes (some come while reading) go to `merged`."""
    elements = top_elements(path)
    meta = next((element for element in elements if element.tag == 'meta'), None)
    if meta is None:
        raise ConversionError(f'{path} has no <meta>: is it an export of CVAT 1.1?')
    tasks, labels = read_tasks(meta, path)
    kind = next((element.tag for element in elements if element.tag in ('track', 'image')), None)
    elements.close()
    merged.classes += labels
    if kind == 'image':
        return open_cvat_images(path, tasks, options, merged.notes)
    if not tasks:
        raise ConversionError(f'{path}: <meta> describes no <task> or <job>.')
    found = []
    for task in tasks:
        video = _video(path, task, options.img_root, alone=len(tasks) == 1)
        read = partial(_read, video, options.img_root, merged.notes, alone=len(tasks) == 1)
        frames = video.frames
        found.append(VideoSource(frames.name, len(frames.files), read, frames.fps))
    return found


def _video(path: Path, task: Task, img_root: Path, alone: bool) -> _Video:
    """The frames of a task, and how they are numbered in the XML."""
    names = [Path(task.source).stem, task.source, task.name]
    names = [name for name in names if name] + [path.stem, 'images', ''] * alone
    try:
        frames = find_frames([path.parent, path.parent / 'images', img_root], names, img_root)
    except ConversionError as error:
        raise ConversionError(
            f'{path}: the frames of task {task.name!r} (source {task.source!r}): {error}'
        ) from None
    files, count = frames.files, len(frames.files)
    if task.size in (None, count):
        first, step = task.start, task.step
    elif task.stop is not None and count > task.stop:  # the whole video, the task is a part of it
        frames.files = files[task.start : task.stop + 1]
        first, step = task.start, 1
    else:
        raise ConversionError(
            f'{path} labels {task.size} frames of task {task.name!r}, but {files[0].parent} has '
            f'{count}.'
        )
    size = image_size(frames.files[0])
    if task.original_size not in (None, size):
        raise ConversionError(
            f'{path} was made on frames of {task.original_size[0]}x{task.original_size[1]} pixels, '
            f'but {frames.files[0]} has {size[0]}x{size[1]}: its boxes do not fit.'
        )
    return _Video(path, task, frames, first, step)


def _read(video: _Video, img_root: Path, notes: list[str], alone: bool) -> Iterator[FrameRecord]:
    by_frame: dict[int, list[ObjectRecord]] = defaultdict(list)
    skipped = stays = 0
    for number, track in enumerate(e for e in top_elements(video.path) if e.tag == 'track'):
        if not alone and track.get('task_id', video.task.id) != video.task.id:
            continue
        track_id = track.get('id', str(number))
        origin = f'track {track_id} of {video.path}'
        name = label_of(track, origin)
        skipped += sum(shape.tag in OTHER_SHAPES for shape in track)
        shapes = _shapes(track, origin)
        if shapes and not shapes[-1].outside:
            end = video.position(shapes[-1].frame, shapes[-1].origin)
            stays += end < len(video.frames.files) - 1
        for position, box, shape, generated in _boxes(video, shapes):
            by_frame[position].append(
                ObjectRecord(name, box, shape.origin, track_id, shape.occluded, generated)
            )
    if skipped:
        notes.append(f'{video.path}: {skipped} points, cuboids or skeletons were left out.')
    if stays:
        notes.append(
            f'{video.path}: {stays} tracks have no end (outside="1"): their last box stays to the '
            f'last frame, as in CVAT.'
        )
    for position, image in enumerate(video.frames.files):
        name = relative_name(image, img_root)
        yield FrameRecord(name, *image_size(image), by_frame.pop(position, []))


def _shapes(track: Element, origin: str) -> list[_Shape]:
    """The shapes of a track by frame; of two with one frame the last counts."""
    shapes: dict[int, _Shape] = {}
    for node in track:
        if node.tag not in SHAPES:
            continue
        frame = parse_integer(node.get('frame'), f'frame of <{node.tag}>', origin)
        place = f'frame {frame} of {origin}'
        outside, keyframe = is_set(node, 'outside'), node.get('keyframe', '1') == '1'
        box = shape_box(node, place)
        shapes[frame] = _Shape(frame, box, outside, is_set(node, 'occluded'), keyframe, place)
    return [shapes[frame] for frame in sorted(shapes)]


def _boxes(video: _Video, shapes: list[_Shape]) -> Iterator[tuple[int, Box, _Shape, bool]]:
    """(position, box, the shape it comes from, made by interpolation) wherever a track is seen."""
    positions = [video.position(shape.frame, shape.origin) for shape in shapes]
    for i, (start, shape) in enumerate(zip(positions, shapes, strict=True)):
        if shape.outside:
            continue
        yield start, shape.box, shape, not shape.keyframe
        following = shapes[i + 1] if i + 1 < len(shapes) else shape
        end = positions[i + 1] if i + 1 < len(shapes) else len(video.frames.files)
        for position in range(start + 1, end):
            part = (position - start) / (end - start)
            box = tuple(a + part * (b - a) for a, b in zip(shape.box, following.box, strict=True))
            yield position, box, shape, True
