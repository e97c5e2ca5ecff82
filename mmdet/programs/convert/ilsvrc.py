"""ILSVRC VID and DET annotations (XML and lists) to CocoVID / COCO JSON.

    ROOT/Annotations/{VID,DET}/**.xml  ROOT/Data/{VID,DET}/**.JPEG  ROOT/{ImageSets,Lists}/*.txt

Worker processes read whole videos (or a few hundred DET images) and return whole numbers; this
process gives out the ids in list order and streams the JSON, so that memory holds 80 bytes per box
and 150 per frame: ImageNet VID train is 1.1 million files with 1.7 million boxes. Every unit of
work knows the list row that asked for it, so that an error deep inside an XML file names the row.
"""

import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from rich.console import Console

from mmdet.core.errors import ConversionError
from mmdet.core.fileio import atomic_write
from mmdet.core.progress import FrameProgress
from mmdet.core.text import read_xml
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.check.statistics import count, print_statistics
from mmdet.programs.convert.cocovid_writer import write_list
from mmdet.programs.convert.records import named_rows

LIST_FOLDERS = ('ImageSets', 'Lists')
VID_LISTS = {'train': 'VID_train_15frames.txt', 'val': 'VID_val_videos.txt'}
DET_LIST = 'DET_train_30classes.txt'
DET_NESTED = 'ILSVRC2013_train'  # one folder per WordNet id inside; the others hold files
DET_FOLDERS = (DET_NESTED, *(f'ILSVRC2014_train_{i:04d}' for i in range(7)))
DET_BATCH = 200  # files per task: long enough to hide its overhead, short enough for the bar
# The name is misspelt in every file of this kind that is in use, so it stays.
OTHER_CATEGORY = {'id': len(IMAGENET_VID_CLASSES) + 1, 'name': 'other_categeries'}
# Per box, as it is read: frame in its batch, category, track in its batch, x, y, w, h, occluded,
# generated; as it is kept: video, image, category, instance, and the same from x on.
READ_FIELDS, KEPT_FIELDS = 9, 10
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


Read = Callable[[Batch], tuple[array, array]]


def convert_vid(
    root: Path, out_dir: Path, splits: Iterable[str] = ('train', 'val'), workers: int | None = None
) -> list[Path]:
    """Write OUT_DIR/imagenet_vid_{train,val}.json and print what each holds.

    Args:
        root: the ILSVRC folder.
        out_dir: made when missing.
        splits: which of 'train' and 'val'; the lists of all are read before any XML.
        workers: processes that read XML; by default one per CPU, at most 8.

    Returns:
        the files written.

    Raises:
        ConversionError: names the file and the row of the list; the JSON is not written then.
    """
    read = _batch_reader(root, 'VID')
    read_list = {'train': read_train_videos, 'val': read_val_videos}
    videos = {split: read_list[split](_find_list(root, VID_LISTS[split])) for split in splits}
    paths = [out_dir / f'imagenet_vid_{split}.json' for split in videos]
    for path, listed in zip(paths, videos.values(), strict=True):
        head = {'categories': _categories(), 'videos': listed}
        batches = [_video_batch(video, i) for i, video in enumerate(listed, 1)]
        _convert(path, head, batches, read, workers)
    return paths


def convert_det(root: Path, out_dir: Path, workers: int | None = None) -> None:
    """Write OUT_DIR/imagenet_det_30plus1cls.json: listed images first, then all others.

    Objects of the other classes become category 31; a row that occurs twice makes two images.
    Arguments and errors as `convert_vid`.
    """
    read = _batch_reader(root, 'DET')
    rows = [(name, origin) for origin, name, _ in _rows(_find_list(root, DET_LIST), numbers=0)]
    known = {name for name, _ in rows}
    rows += [(n, '') for n in _det_images(_annotation_folder(root, 'DET')) if n not in known]
    batches = []
    for start in range(0, len(rows), DET_BATCH):
        names, origins = zip(*rows[start : start + DET_BATCH], strict=True)
        batches.append(Batch(names, origins, is_key=[origin != '' for origin in origins]))
    head = {'categories': [*_categories(), {**OTHER_CATEGORY, 'encode_name': None}]}
    _convert(out_dir / 'imagenet_det_30plus1cls.json', head, batches, read, workers)


def _categories() -> list[dict]:
    pairs = zip(IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS, strict=True)
    return [{'id': i, 'name': n, 'encode_name': wnid} for i, (n, wnid) in enumerate(pairs, 1)]


# --- writing -------------------------------------------------------------------------------------


def _convert(path: Path, head: dict, batches: list[Batch], read: Read, workers: int | None) -> None:
    """Write the categories and perhaps videos of `head`, then what the batches hold."""
    console = Console()
    total = sum(len(batch.names) for batch in batches)
    counted = f'{len(head["videos"]):,} videos, ' if 'videos' in head else ''
    console.print(f'Converting {counted}{total:,} files to {path}', soft_wrap=True)
    boxes = array('q')
    with atomic_write(path) as file:
        file.write(f'{{"categories": {json.dumps(head["categories"])}')
        if 'videos' in head:
            entries = (
                {'id': i, 'name': video.name, 'vid_train_frames': video.key_frames}
                for i, video in enumerate(head['videos'], 1)
            )
            write_list(file, 'videos', entries)
        with (
            FrameProgress(total, 'Reading XML') as progress,
            closing(_parallel(read, batches, workers)) as results,  # no worker reads on
        ):
            write_list(file, 'images', _image_entries(results, boxes, progress.advance))
        write_list(file, 'annotations', _annotation_entries(boxes, 'videos' in head))
        file.write('}')
        file.flush()
        statistics = count(CocoVideoIndex.read(file.name))
    print_statistics(statistics, console)
    console.print(f'Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)', soft_wrap=True)


def _parallel(
    read: Read, batches: list[Batch], workers: int | None
) -> Iterator[tuple[Batch, tuple[array, array]]]:
    """Batches with what `read` found, in order."""
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    if workers == 1:
        yield from zip(batches, map(read, batches), strict=True)
        return
    with ProcessPoolExecutor(workers) as pool, closing(pool.map(read, batches)) as found:
        yield from zip(batches, found, strict=True)


def _image_entries(
    results: Iterable[tuple[Batch, tuple[array, array]]],
    kept: array,
    advance: Callable[[int], None],
) -> Iterator[dict]:
    """The images in list order; their boxes go to `kept` (KEPT_FIELDS each)."""
    image_id = instances = 0
    for batch, (sizes, boxes) in results:
        first, tracks = image_id + 1, 0
        for i in range(0, len(boxes), READ_FIELDS):
            frame, category, track, *rest = boxes[i : i + READ_FIELDS]
            kept.extend((batch.video_id, first + frame, category, instances + track + 1, *rest))
            tracks = max(tracks, track + 1)
        instances += tracks
        for frame, name in enumerate(batch.names):
            image_id += 1
            width, height = sizes[2 * frame : 2 * frame + 2]
            place = {'frame_id': frame, 'video_id': batch.video_id} if batch.video_id else {}
            yield {
                'file_name': f'{name}.JPEG',
                'height': height,
                'width': width,
                'id': image_id,
                **place,
                'is_vid_train_frame': batch.is_key[frame],
            }
        advance(len(batch.names))


def _annotation_entries(kept: array, in_video: bool) -> Iterator[dict]:
    for i in range(0, len(kept), KEPT_FIELDS):
        video, image, category, instance, *box, occluded, generated = kept[i : i + KEPT_FIELDS]
        yield {
            'id': i // KEPT_FIELDS + 1,
            **({'video_id': video} if in_video else {}),
            'image_id': image,
            'category_id': category,
            **({'instance_id': instance} if in_video else {}),
            'bbox': box,
            'area': box[2] * box[3],
            'iscrowd': False,
            **({'occluded': bool(occluded), 'generated': bool(generated)} if in_video else {}),
        }


# --- the lists -----------------------------------------------------------------------------------


@dataclass
class Video:
    """One video of a list.

    `origin` is the row that named it first; `key_frames` are 0-based, in the order of the list.
    """

    name: str
    num_frames: int
    origin: str
    key_frames: list[int] = field(default_factory=list)


def _video_batch(video: Video, video_id: int) -> Batch:
    frames, keys = range(video.num_frames), set(video.key_frames)
    return Batch(
        names=[f'{video.name}/{frame:06d}' for frame in frames],
        origins=[video.origin] * video.num_frames,
        is_key=[frame in keys for frame in frames],
        video_id=video_id,
    )


def _find_list(root: Path, name: str) -> Path:
    """The list file `name`, from ImageSets/ or, failing that, from Lists/."""
    for folder in LIST_FOLDERS:
        if (root / folder / name).is_file():
            return root / folder / name
    tried = ' nor '.join(str(root / folder / name) for folder in LIST_FOLDERS)
    raise ConversionError(f'Unknown layout: there is neither {tried}.')


def _annotation_folder(root: Path, subset: str) -> Path:
    folder = root / 'Annotations' / subset
    if not folder.is_dir():
        inner = root / 'ILSVRC'
        hint = f' Did you mean {inner}?' if inner.is_dir() else ''
        raise ConversionError(
            f'Unknown layout: there is no folder {folder} with the XML files.{hint}'
        )
    return folder


def read_train_videos(path: Path) -> list[Video]:
    """Rows `video 1 frame numframes`: the key frames of each video, in order of first appearance.

    `frame` counts from 1, so 0 becomes key frame -1 and matches no frame. The lists in use hold 144
    such rows; the released models were trained with exactly this reading.
    """
    videos: dict[str, Video] = {}
    for origin, name, (_, frame, num_frames) in _rows(path, numbers=3):
        if not 0 <= frame <= num_frames:
            raise ConversionError(f'{origin}: frame {frame} is not in 0..{num_frames}.')
        video = videos.setdefault(name, Video(name, num_frames, origin))
        if video.num_frames != num_frames:
            raise ConversionError(
                f'{origin}: {name} has {num_frames} frames here, '
                f'but {video.num_frames} in {video.origin}.'
            )
        video.key_frames.append(frame - 1)
    return list(videos.values())


def read_val_videos(path: Path) -> list[Video]:
    """Rows `video start 0 numframes`, in the order of the list."""
    videos: dict[str, Video] = {}
    for origin, name, (_, _, num_frames) in _rows(path, numbers=3):
        if name in videos:
            raise ConversionError(f'{origin}: {name} is listed already in {videos[name].origin}.')
        videos[name] = Video(name, num_frames, origin)
    return list(videos.values())


def _det_images(folder: Path) -> list[str]:
    """Every annotated training image of Annotations/DET, in string order of its XML."""
    found = []
    try:
        for part in DET_FOLDERS:
            outer = folder / 'train' / part
            if not outer.exists():
                continue  # a part of the set, as the lists allow
            inner = [outer] if part != DET_NESTED else [e for e in outer.iterdir() if e.is_dir()]
            for place in inner:
                files = [name for name in os.listdir(place) if name.endswith('.xml')]
                found += [f'{place.relative_to(folder).as_posix()}/{name}' for name in files]
    except OSError as error:
        raise ConversionError(f'Cannot list {error.filename}: {error.strerror}') from error
    return [name.removesuffix('.xml') for name in sorted(found)]


def _rows(path: Path, numbers: int) -> Iterator[tuple[str, str, list[int]]]:
    """(description of the row, name, its whole numbers) of every row that is not blank."""
    rows = named_rows(path)
    if not rows:
        raise ConversionError(f'The list {path} is empty.')
    for row, line in rows:
        name, *fields = line.split()
        origin = f'{row} ({line!r})'
        unsafe = name.startswith('/') or '..' in PurePosixPath(name).parts
        if unsafe or os.path.normpath(name) != name:
            raise ConversionError(
                f'{origin}: {name!r} is not a plain path relative to Annotations/.'
            )
        yield origin, name, _numbers(fields, numbers, origin) if numbers else []


def _numbers(fields: list[str], number: int, origin: str) -> list[int]:
    try:
        values = [int(text) for text in fields]
    except ValueError:
        values = []
    if len(values) != number:
        raise ConversionError(
            f'{origin}: expected a name and {number} whole numbers (path, start, frame, '
            f'number of frames), separated by blanks.'
        )
    if values[-1] < 1:
        raise ConversionError(f'{origin}: a video needs at least one frame, got {values[-1]}.')
    return values


# --- the XML files -------------------------------------------------------------------------------


def _batch_reader(root: Path, subset: str) -> Read:
    """`read_batch` for a subset; where only the annotations are here, they suffice."""
    images = root / 'Data' / subset
    folder = _annotation_folder(root, subset)
    return partial(read_batch, folder=folder, images=images if images.is_dir() else None)


def read_batch(batch: Batch, folder: Path, images: Path | None) -> tuple[array, array]:
    """(sizes, boxes) of a batch: width and height per file, READ_FIELDS numbers per box.

    VID has tracks and flags, and leaves foreign classes out. A box may have no area or a negative
    side (the dataset drops it on loading).
    """
    in_video = batch.video_id > 0
    category_ids = {wnid: i for i, wnid in enumerate(IMAGENET_VID_WNIDS, 1)}
    tracks: dict[str, int] = {}
    sizes, boxes = array('q'), array('q')
    for frame, (name, origin) in enumerate(zip(batch.names, batch.origins, strict=True)):
        path = f'{folder}/{name}.xml'
        try:
            root = read_xml(Path(path), ConversionError)
            if images and origin and not os.path.isfile(f'{images}/{name}.JPEG'):
                raise ConversionError(f'{images}/{name}.JPEG is missing')
            sizes.extend(_size(root))
            for node in root.findall('object'):
                wnid, track, *numbers = _object(node, in_video)
                category = category_ids.get(wnid, 0 if in_video else OTHER_CATEGORY['id'])
                if category:
                    track = tracks.setdefault(track, len(tracks))
                    boxes.extend((frame, category, track, *numbers))
        except (ConversionError, ValueError) as error:
            asked = f'asked for by {origin}' if origin else 'an image that no list row names'
            where = '' if isinstance(error, ConversionError) else f'{path}: '
            raise ConversionError(f'{where}{error}; {asked}.') from None
    return sizes, boxes


def _size(root: Element) -> tuple[int, int]:
    width, height = _integer(root, 'size/width'), _integer(root, 'size/height')
    if width < 1 or height < 1:
        raise ValueError(f'<size> is {width} x {height}')
    return width, height


def _object(node: Element, in_video: bool) -> tuple:
    """(class, track, x, y, w, h, occluded, generated) in whole pixels, w = xmax - xmin."""
    xmin, ymin, xmax, ymax = (
        _integer(node, f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax')
    )
    box = (xmin, ymin, xmax - xmin, ymax - ymin)
    name = _text(node, 'name')
    if not in_video:
        return name, '', *box, False, False
    flags = (_text(node, flag) == '1' for flag in ('occluded', 'generated'))
    return name, _text(node, 'trackid'), *box, *flags


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
