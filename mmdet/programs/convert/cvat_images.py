"""CVAT for images 1.1: <image> elements, grouped to videos by the folder in their names."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from mmdet.core.errors import ConversionError
from mmdet.core.images import IMAGE_SUFFIXES, is_image, natural_key
from mmdet.programs.convert.cvat_xml import (
    OTHER_SHAPES,
    SHAPES,
    Element,
    Task,
    is_set,
    label_of,
    shape_box,
    top_elements,
)
from mmdet.programs.convert.frames import (
    find_frames,
    folder_name,
    image_size,
    relative_name,
    trailing_number,
)
from mmdet.programs.convert.label_files import LayoutOptions, video_prefix
from mmdet.programs.convert.records import FrameRecord, ObjectRecord, VideoSource, parse_integer

TRACK_ATTRIBUTES = ('track_id', 'trackid', 'id')


def open_cvat_images(
    path: Path, tasks: list[Task], options: LayoutOptions, notes: list[str]
) -> list[VideoSource]:
    """Group the images of a CVAT file to videos; see `cvat.open_cvat`."""
    groups: dict[str, list[tuple[str, Element]]] = defaultdict(list)
    skipped = 0
    for element in top_elements(path):
        if element.tag == 'image':
            name = element.get('name') or ''
            if not name:
                raise ConversionError(f'{path}: image {element.get("id")} has no name')
            groups[_group(name, element, tasks, options)].append((name, element))
            skipped += sum(shape.tag in OTHER_SHAPES for shape in element)
    if skipped:
        notes.append(f'{path}: {skipped} points, cuboids or skeletons were left out.')
    videos = []
    by_task = {task.name: task for task in tasks}
    for group, images in groups.items():
        images.sort(key=lambda pair: natural_key(pair[0]))
        task = by_task.get(group, tasks[0] if tasks else None)
        files = _files(path, group, [name for name, _ in images], task, options.img_root)
        named = options.group == 'prefix' or (group and len(tasks) > 1)
        video = group if named else folder_name(files[0].parent, options.img_root)
        read = partial(_read, path, images, files, options.img_root)
        videos.append(VideoSource(video, len(images), read))
    return videos


def _group(name: str, element: Element, tasks: list[Task], options: LayoutOptions) -> str:
    """The video of an image: its folder; in a project, the task where there is no folder."""
    pure = PurePosixPath(name.replace('\\', '/'))
    folder = pure.parent.as_posix()
    if options.group == 'prefix':
        return (pure.parent / video_prefix(pure)).as_posix()
    if folder != '.':
        return folder
    by_id = {task.id: task.name for task in tasks}
    return by_id.get(element.get('task_id') or '', '') if len(tasks) > 1 else ''


def _files(
    path: Path, group: str, names: list[str], task: Task | None, img_root: Path
) -> list[Path]:
    """The image files; those of a task on a video file (`frame_000012`) by their number."""
    for folder in (img_root, path.parent / 'images', path.parent, img_root / 'images'):
        if (folder / names[0]).is_file():
            return [_existing(folder / name) for name in names]
        for suffix in IMAGE_SUFFIXES if not is_image(Path(names[0])) else ():
            if (folder / f'{names[0]}{suffix}').is_file():
                return [_existing(folder / f'{name}{suffix}') for name in names]
    stems = [Path(task.source).stem, task.source, task.name] if task else []
    try:
        places = [path.parent, img_root]
        frames = find_frames(places, [n for n in [group, *stems, path.stem] if n], img_root)
    except ConversionError as error:
        raise ConversionError(
            f'{path}: there is no image {names[0]!r} in {img_root} or beside the file: {error}'
        ) from None
    numbers = [trailing_number(Path(name).stem) for name in names]
    for name, number in zip(names, numbers, strict=True):
        if number is None or number >= len(frames.files):
            raise ConversionError(
                f'{path}: image {name!r} is no frame of {frames.files[0].parent}, which has '
                f'{len(frames.files)} (0 to {len(frames.files) - 1}).'
            )
    return [frames.files[number] for number in numbers]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConversionError(f'{path} does not exist')
    return path


def _read(
    path: Path, images: list[tuple[str, Element]], files: list[Path], img_root: Path
) -> Iterator[FrameRecord]:
    for (name, element), file in zip(images, files, strict=True):
        origin = f'image {name!r} of {path}'
        size = image_size(file)
        given = tuple(parse_integer(element.get(s), s, origin) for s in ('width', 'height'))
        if given != size:
            raise ConversionError(
                f'{origin} has {given[0]}x{given[1]} pixels, but {file} has {size[0]}x{size[1]}: '
                f'its boxes do not fit.'
            )
        objects = [
            ObjectRecord(
                label_of(shape, origin),
                shape_box(shape, f'<{shape.tag}> {number} of {origin}'),
                f'<{shape.tag}> {number} of {origin}',
                track=_track(shape),
                occluded=is_set(shape, 'occluded'),
            )
            for number, shape in enumerate(element, 1)
            if shape.tag in SHAPES
        ]
        yield FrameRecord(relative_name(file, img_root), *size, objects)


def _track(shape: Element) -> str | None:
    for attribute in shape.iterfind('attribute'):
        if attribute.get('name') in TRACK_ATTRIBUTES and (attribute.text or '').strip():
            return attribute.text.strip()
    return None
