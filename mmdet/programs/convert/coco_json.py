"""Plain COCO, and COCO with videos in its dialects, to records.

Videos are, in this order: those of `videos` and `video_id`; the values of `video_id` alone; the
folders (or prefixes) of the file names. Frames are ordered by `frame_id` (or `frame_index`), else
by name. Tracks are `instance_id`, `track_id`, or CVAT's attribute `track_id`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mmdet.core.errors import ConversionError
from mmdet.core.images import natural_key
from mmdet.core.text import read_json
from mmdet.datasets.parsers.annotation_table import FIELDS, value_fault
from mmdet.programs.convert.frame_folders import (
    checked_size,
    find_frames,
    image_size,
    numbered_frames,
    relative_name,
    trailing_number,
)
from mmdet.programs.convert.label_files import LayoutOptions, first_number, video_of
from mmdet.programs.convert.records import FrameRecord, ObjectRecord, Source, VideoSource

FRAME_NUMBERS = ('frame_id', 'frame_index')
TRACK_IDS = ('instance_id', 'track_id')
# what only the file that is written needs
_OPTIONAL = {'height', 'width', 'video_id', 'frame_id', 'is_vid_train_frame', 'area', 'instance_id'}


def open_coco(inputs: Sequence[Path], options: LayoutOptions) -> Source:
    """Find the videos and frames of COCO files; file names in them start from the image root."""
    videos: list[VideoSource] = []
    classes: dict[str, None] = {}
    notes: list[str] = []
    for path in inputs:
        content = _load(path)
        names = {c['id']: c['name'] for c in content['categories']}
        classes |= dict.fromkeys(names.values())
        objects = _objects_by_image(path, content, names)
        for name, images in _videos(path, content, options):
            images = _in_order(path, name, images)
            notes += _point_to_files(path, name, images, options)
            read = partial(_read, path, images, objects, options.img_root)
            videos.append(VideoSource(name, len(images), read))
    return Source(videos, list(classes), notes=notes)


def _load(path: Path) -> dict[str, list[dict]]:
    content = read_json(path, ConversionError)
    for name in ('images', 'annotations', 'categories'):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise ConversionError(f'{path} is not COCO: it has no list `{name}`')
    if any(isinstance(e, dict) and 'bboxes' in e for e in content['annotations'][:1]):
        raise ConversionError(
            f'{path}: its annotations hold a list `bboxes` over all frames of a video, as '
            f'YouTube-VIS does. Only COCO with one annotation per frame is read.'
        )
    for name in ('categories', 'images', 'annotations', 'videos'):
        ids, entries = set(), content.get(name) or []
        if not isinstance(entries, list):
            raise ConversionError(f'{path} is not COCO: `{name}` must be a list')
        for i, entry in enumerate(entries):
            _check_entry(path, name, i, entry)
            if entry['id'] in ids:
                raise ConversionError(f'{path}: two {name} have the id {entry["id"]}')
            ids.add(entry['id'])
    return content


def _check_entry(path: Path, name: str, position: int, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise ConversionError(f'{path}: {name}[{position}] must be an object')
    for field, rule in FIELDS[name].items():
        if field in _OPTIONAL and entry.get(field) is None:
            continue
        fault = value_fault(field, rule, entry.get(field))
        if fault:
            raise ConversionError(f'{path}: {name}[{position}], id {entry.get("id")}: {fault}')


def _objects_by_image(
    path: Path, content: Mapping[str, list], names: Mapping[int, str]
) -> dict[int, list[ObjectRecord]]:
    images = {image['id'] for image in content['images']}
    objects: dict[int, list[ObjectRecord]] = defaultdict(list)
    for entry in content['annotations']:
        origin = f'annotation id {entry["id"]} of {path}'
        for field, known in (('image_id', images), ('category_id', names)):
            if entry[field] not in known:
                raise ConversionError(f'{origin}: {field} {entry[field]} is not in the file')
        if entry.get('ignore'):
            continue
        objects[entry['image_id']].append(
            ObjectRecord(
                names[entry['category_id']],
                tuple(entry['bbox']),
                origin,
                track=_track(entry),
                occluded=entry.get('occluded') in (True, 1),
                generated=entry.get('generated') in (True, 1),
                crowd=bool(entry.get('iscrowd')),
                area=entry.get('area'),
            )
        )
    return objects


def _track(entry: Mapping[str, Any]) -> int | str | None:
    attributes = entry.get('attributes')
    for holder in (entry, attributes if isinstance(attributes, dict) else {}):
        for name in TRACK_IDS:
            if isinstance(holder.get(name), int | str) and holder[name] != -1:
                return holder[name]
    return None


def _videos(
    path: Path, content: Mapping[str, list], options: LayoutOptions
) -> list[tuple[str, list[dict]]]:
    """Images with the name of their video, in the order of the file's videos or by name."""
    images, listed = content['images'], content.get('videos') or []
    if not any(image.get('video_id') is not None for image in images):
        groups: dict[str, list[dict]] = defaultdict(list)
        for image in images:
            groups[video_of(image['file_name'], options.group) or path.stem].append(image)
        return sorted(groups.items(), key=lambda item: natural_key(item[0]))
    names = {video['id']: video['name'] for video in listed}
    by_id: dict[Any, list[dict]] = {video['id']: [] for video in listed}
    for image in images:
        video = image.get('video_id')
        if video is None or (listed and video not in names):
            raise ConversionError(
                f'{path}: image id {image["id"]} has the video_id {video}, which is not in `videos`'
            )
        by_id.setdefault(video, []).append(image)
    return [(_video_name(names, i, group), group) for i, group in by_id.items() if group]


def _video_name(names: Mapping[Any, str], video_id: Any, images: list[dict]) -> str:
    """The name of a video; without one, the folder of its frames."""
    folders = {video_of(image['file_name'], 'folder') for image in images}
    folder = folders.pop() if len(folders) == 1 else ''
    return names.get(video_id) or folder or f'video_{video_id}'


def _point_to_files(path: Path, name: str, images: list[dict], options: LayoutOptions) -> list[str]:
    """Where the files are not there but a video of that name is, point to its extracted frames.

    Returns:
        a note if neither is there.
    """
    first = options.img_root / images[0]['file_name']
    if first.exists():
        return []
    try:
        places = dict.fromkeys([path.parent, options.img_root])
        frames = find_frames(places, [name, path.stem], options.img_root, str(path))
    except ConversionError:
        return [f'{first} does not exist: is --img-root right?']
    names = [image['file_name'] for image in images]
    numbers = {trailing_number(PurePosixPath(name).stem) for name in names} - {None}
    start = first_number(numbers, len(frames.files), name, options.first_frame)
    files = numbered_frames(frames, names, start, path)
    for image, file in zip(images, files, strict=True):
        image['file_name'] = relative_name(file, options.img_root)
    return []


def _in_order(path: Path, name: str, images: list[dict]) -> list[dict]:
    """Frames by number, where all have one, else by name."""
    for field in FRAME_NUMBERS:
        if all(isinstance(image.get(field), int) for image in images):
            numbers = [image[field] for image in images]
            if len(set(numbers)) < len(numbers):
                twice = next(n for n in numbers if numbers.count(n) > 1)
                raise ConversionError(f'{path}: two images of video {name!r} have {field} {twice}')
            return sorted(images, key=lambda image: image[field])
    return sorted(images, key=lambda image: natural_key(image['file_name']))


def _read(
    path: Path,
    images: list[dict],
    objects: Mapping[int, list[ObjectRecord]],
    img_root: Path,
) -> Iterator[FrameRecord]:
    for image in images:
        name = image['file_name'].replace('\\', '/')
        width, height = _size(path, image, img_root / name)
        found = objects.get(image['id'], [])
        is_key = image.get('is_vid_train_frame')  # true, false, or nobody knows
        yield FrameRecord(name, width, height, found, is_key=is_key)


def _size(path: Path, image: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """(width, height) of a frame: what the JSON says, which must be that of the file.

    Frames that are not there were remarked upon; their size is taken on trust.
    """
    given = image.get('width'), image.get('height')
    if not all(given):
        try:
            return image_size(file)
        except ConversionError as error:
            raise ConversionError(
                f'{path}: image id {image["id"]} has no width and height, and {error}'
            ) from None
    width, height = map(int, given)
    if not file.exists():
        return width, height
    return checked_size(file, (width, height), f'{path}: image id {image["id"]}')
