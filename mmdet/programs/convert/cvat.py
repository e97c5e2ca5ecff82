"""CVAT XML 1.1, for video (<track>) and for images (<image>), and the frames that belong to it.

For video: CVAT writes the box of every frame of a track; where frames are missing between two of
them (other tools write key frames only, or the task had a frame step) the box is interpolated
linearly. A box with outside="1" ends the track until the next one; a track without it stays to the
last frame. All this is what CVAT shows.

The frames of a video are looked for beside the XML file and in the image root, in a folder (or
video file) called like the task's source, the task, or the XML file, or in `images`. Images are
grouped to videos by the folder in their names.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

from mmdet.core.errors import ConversionError
from mmdet.core.images import IMAGE_SUFFIXES, is_image, natural_key
from mmdet.core.text import xml_events
from mmdet.programs.convert.frame_folders import (
    FrameFolder,
    checked_size,
    find_frames,
    folder_name,
    frame_record,
    numbered_frames,
    relative_name,
)
from mmdet.programs.convert.label_files import LayoutOptions, video_of
from mmdet.programs.convert.records import (
    Box,
    FrameRecord,
    ObjectRecord,
    Source,
    VideoSource,
    is_true,
    parse_integer,
    parse_number,
)

SHAPES = ('box', 'polygon', 'polyline', 'ellipse', 'mask')  # what has a box; not points, skeletons
OTHER_SHAPES = ('points', 'cuboid', 'skeleton')
TRACK_ATTRIBUTES = ('track_id', 'trackid', 'id')


def open_cvat(inputs: Sequence[Path], options: LayoutOptions) -> Source:
    """Find the videos of CVAT files, or of folders with an annotations.xml."""
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
    elements = _top_elements(path)
    meta = next((element for element in elements if element.tag == 'meta'), None)
    if meta is None:
        raise ConversionError(f'{path} has no <meta>: is it an export of CVAT 1.1?')
    tasks = [_task(node, path) for node in list(meta.iter('task')) or list(meta.iter('job'))]
    kind = next((element.tag for element in elements if element.tag in ('track', 'image')), None)
    elements.close()
    merged.classes += [name for node in meta.iter('label') if (name := node.findtext('name'))]
    if kind == 'image':
        return _open_images(path, tasks, options, merged.notes)
    if not tasks:
        raise ConversionError(f'{path}: <meta> describes no <task> or <job>.')
    found = []
    for task in tasks:
        video = _video(path, task, options.img_root, alone=len(tasks) == 1)
        read = partial(_read, video, options.img_root, merged.notes, alone=len(tasks) == 1)
        found.append(video.frames.video(read))
    return found


# --- elements of the file -------------------------------------------------------------------------


@dataclass
class _Task:
    """What <meta> says of one task; frames are numbers in the video file, both ends included."""

    id: str
    name: str
    source: str
    size: int | None  # frames
    start: int
    stop: int | None
    step: int
    original_size: tuple[int, int] | None  # width, height

    @property
    def names(self) -> list[str]:
        """What its frames may be called."""
        return [name for name in (Path(self.source).stem, self.source, self.name) if name]


def _top_elements(path: Path) -> Iterator[Element]:
    """The children of the root one by one, each dropped before the next: files can be large."""
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


def _task(node: Element, path: Path) -> _Task:
    def number(field: str, default: int | None) -> int | None:
        text = node.findtext(field)
        return parse_integer(text, f'<{field}> of <{node.tag}>', str(path)) if text else default

    text = (node.findtext('frame_filter') or '').partition('step=')[2]
    step = parse_integer(text, '<frame_filter>', str(path)) if text else 1
    if step < 1:
        raise ConversionError(f'{path}: the step of <frame_filter> is {step}, it must be 1 or more')
    width, height = number('original_size/width', None), number('original_size/height', None)
    return _Task(
        id=node.findtext('id') or '',
        name=node.findtext('name') or '',
        source=node.findtext('source') or '',
        size=number('size', None),
        start=number('start_frame', 0),
        stop=number('stop_frame', None),
        step=step,
        original_size=(width, height) if width and height else None,
    )


def _shape_box(node: Element, origin: str) -> Box:
    """The box of a shape: upright, around one that is turned or no box."""

    def numbers(*names: str, default: str | None = None) -> list[float]:
        return [
            parse_number(node.get(name, default), f'{name} of <{node.tag}>', origin)
            for name in names
        ]

    if node.tag == 'mask':
        return tuple(numbers('left', 'top', 'width', 'height'))
    if node.tag not in ('box', 'ellipse'):
        pairs = [pair.split(',') for pair in (node.get('points') or '').split(';')]
        if any(len(pair) != 2 for pair in pairs):
            raise ConversionError(f'{origin}: points of <{node.tag}> are no pairs x,y;x,y;...')
        xs, ys = zip(*([parse_number(v, 'a point', origin) for v in p] for p in pairs), strict=True)
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    if node.tag == 'box':
        x1, y1, x2, y2 = numbers('xtl', 'ytl', 'xbr', 'ybr')
    else:
        cx, cy, rx, ry = numbers('cx', 'cy', 'rx', 'ry')
        x1, y1, x2, y2 = cx - rx, cy - ry, cx + rx, cy + ry
    (angle,) = numbers('rotation', default='0')
    if angle:
        return _turned(node.tag, x1, y1, x2, y2, math.radians(angle))
    return x1, y1, x2 - x1, y2 - y1  # may be the wrong way round: then it is empty, and reported


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


def _label_of(node: Element, origin: str) -> str:
    name = node.get('label')
    if not name:
        raise ConversionError(f'{origin}: <{node.tag}> has no label')
    return name


# --- for video ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Shape:
    """A box of a track; `frame` is the number in the XML."""

    frame: int
    box: Box
    outside: bool
    occluded: bool
    keyframe: bool
    origin: str


@dataclass
class _Video:
    path: Path
    task: _Task
    frames: FrameFolder
    first: int  # the number in the XML of the first frame
    step: int  # between the numbers in the XML of two frames

    def position(self, number: int, origin: str) -> int:
        """Which frame (from 0) has this number in the XML."""
        position, rest = divmod(number - self.first, self.step)
        if rest or not 0 <= position < len(self.frames.files):
            last = self.first + self.step * (len(self.frames.files) - 1)
            raise ConversionError(
                f'{origin}: frame {number} is not in {self.first}..{last} (step {self.step}): '
                f'{self.frames.files[0].parent} gives {len(self.frames.files)} frames.'
            )
        return position


def _video(path: Path, task: _Task, img_root: Path, alone: bool) -> _Video:
    """The frames of a task, and how they are numbered in the XML."""
    names = task.names + [path.stem, 'images', ''] * alone
    missing = f'{path}: the frames of task {task.name!r} (source {task.source!r})'
    places = [path.parent, path.parent / 'images', img_root]
    frames = find_frames(places, names, img_root, missing)
    files, count = frames.files, len(frames.files)
    if task.size in (None, count):
        first, step = task.start, task.step
    elif task.stop is not None and 0 <= task.start <= task.stop < count:  # a part of this video
        frames.files = files[task.start : task.stop + 1]
        first, step = task.start, 1
    else:
        raise ConversionError(
            f'{path} labels {task.size} frames of task {task.name!r}, but {files[0].parent} has '
            f'{count}.'
        )
    checked_size(frames.files[0], task.original_size, str(path))
    return _Video(path, task, frames, first, step)


def _read(video: _Video, img_root: Path, notes: list[str], alone: bool) -> Iterator[FrameRecord]:
    by_frame: dict[int, list[ObjectRecord]] = defaultdict(list)
    skipped = stays = 0
    for number, track in enumerate(e for e in _top_elements(video.path) if e.tag == 'track'):
        if not alone and track.get('task_id', video.task.id) != video.task.id:
            continue
        track_id = track.get('id', str(number))
        origin = f'track {track_id} of {video.path}'
        name = _label_of(track, origin)
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
        yield frame_record(image, img_root, by_frame.pop(position, []))


def _shapes(track: Element, origin: str) -> list[_Shape]:
    """The shapes of a track by frame; of two with one frame the last counts."""
    shapes: dict[int, _Shape] = {}
    for node in track:
        if node.tag not in SHAPES:
            continue
        frame = parse_integer(node.get('frame'), f'frame of <{node.tag}>', origin)
        place = f'frame {frame} of {origin}'
        outside, keyframe = is_true(node.get('outside')), node.get('keyframe', '1') == '1'
        box = _shape_box(node, place)
        shapes[frame] = _Shape(frame, box, outside, is_true(node.get('occluded')), keyframe, place)
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


# --- for images -----------------------------------------------------------------------------------


def _open_images(
    path: Path, tasks: list[_Task], options: LayoutOptions, notes: list[str]
) -> list[VideoSource]:
    groups: dict[str, list[tuple[str, Element]]] = defaultdict(list)
    name_of_task = {task.id: task.name for task in tasks}
    skipped = 0
    for element in _top_elements(path):
        if element.tag == 'image':
            name = element.get('name') or ''
            if not name:
                raise ConversionError(f'{path}: image {element.get("id")} has no name')
            group = video_of(name, options.group)
            if not group and len(tasks) > 1:  # the task, in a project
                group = name_of_task.get(element.get('task_id') or '', '')
            groups[group].append((name, element))
            skipped += sum(shape.tag in OTHER_SHAPES for shape in element)
    if skipped:
        notes.append(f'{path}: {skipped} points, cuboids or skeletons were left out.')
    videos = []
    by_task = {task.name: task for task in tasks}
    for group, images in groups.items():
        images.sort(key=lambda pair: natural_key(pair[0]))
        task = by_task.get(group, tasks[0] if tasks else None)
        files = _image_files(path, group, [name for name, _ in images], task, options.img_root)
        named = options.group == 'prefix' or (group and len(tasks) > 1)
        video = group if named else folder_name(files[0].parent, options.img_root)
        read = partial(_read_images, path, images, files, options.img_root)
        videos.append(VideoSource(video, len(images), read))
    return videos


def _image_files(
    path: Path, group: str, names: list[str], task: _Task | None, img_root: Path
) -> list[Path]:
    """The image files; those of a task on a video file (`frame_000012`) by their number."""
    for folder in (img_root, path.parent / 'images', path.parent, img_root / 'images'):
        if (folder / names[0]).is_file():
            return [_existing(folder / name) for name in names]
        for suffix in IMAGE_SUFFIXES if not is_image(Path(names[0])) else ():
            if (folder / f'{names[0]}{suffix}').is_file():
                return [_existing(folder / f'{name}{suffix}') for name in names]
    names_of_video = [n for n in (group, *(task.names if task else []), path.stem) if n]
    missing = f'{path}: there is no image {names[0]!r} in {img_root} or beside the file'
    frames = find_frames([path.parent, img_root], names_of_video, img_root, missing)
    return numbered_frames(frames, names, 0, path)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConversionError(f'{path} does not exist')
    return path


def _read_images(
    path: Path, images: list[tuple[str, Element]], files: list[Path], img_root: Path
) -> Iterator[FrameRecord]:
    for (name, element), file in zip(images, files, strict=True):
        origin = f'image {name!r} of {path}'
        given = tuple(parse_integer(element.get(s), s, origin) for s in ('width', 'height'))
        size = checked_size(file, given, origin)
        objects = [
            ObjectRecord(
                _label_of(shape, origin),
                _shape_box(shape, f'<{shape.tag}> {number} of {origin}'),
                f'<{shape.tag}> {number} of {origin}',
                track=_track_of(shape),
                occluded=is_true(shape.get('occluded')),
            )
            for number, shape in enumerate(element, 1)
            if shape.tag in SHAPES
        ]
        yield FrameRecord(relative_name(file, img_root), *size, objects)


def _track_of(shape: Element) -> str | None:
    for attribute in shape.iterfind('attribute'):
        if attribute.get('name') in TRACK_ATTRIBUTES and (attribute.text or '').strip():
            return attribute.text.strip()
    return None
