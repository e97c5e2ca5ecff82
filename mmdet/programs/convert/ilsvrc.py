"""ILSVRC VID and DET annotations (XML and lists) to CocoVID / COCO JSON.

Worker processes read whole videos (or a few hundred DET images) and return whole numbers; this
process gives out the ids in list order and streams the JSON, so that memory holds 80 bytes per box
and nothing per frame: ImageNet VID train is 1.1 million files with 1.7 million boxes.
"""

import json
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO

from rich.console import Console

from mmdet.core.fileio import atomic_write
from mmdet.core.progress import FrameProgress
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS
from mmdet.programs.convert.ilsvrc_lists import (
    Video,
    annotation_folder,
    find_list,
    image_folder,
    list_det_images,
    read_det_images,
    read_train_videos,
    read_val_videos,
)
from mmdet.programs.convert.ilsvrc_xml import OTHER_CATEGORY, READ_FIELDS, Batch, read_batch
from mmdet.programs.convert.summary import Summary

VID_LISTS = {
    'train': ('VID_train_15frames.txt', read_train_videos),
    'val': ('VID_val_videos.txt', read_val_videos),
}
DET_LIST = 'DET_train_30classes.txt'
DET_BATCH = 200  # files per task: long enough to hide its overhead, short enough for the bar
KEPT_FIELDS = 10  # per box: video, image, category, instance, x, y, w, h, occluded, generated


def convert_vid(
    root: Path, out_dir: Path, splits: Iterable[str] = ('train', 'val'), workers: int | None = None
) -> None:
    """Write OUT_DIR/imagenet_vid_{train,val}.json and print a summary of each.

    Args:
        root: the ILSVRC folder, see `ilsvrc_lists`.
        out_dir: made when missing.
        splits: which of 'train' and 'val'; the lists of all are read before any XML.
        workers: processes that read XML; by default one per CPU, at most 8.

    Raises:
        ILSVRCError: names the file and the row of the list; the JSON is not written then.
    """
    folder = annotation_folder(root, 'VID')
    read = partial(read_batch, folder=str(folder), images=image_folder(root, 'VID'))
    videos = {}
    for split in splits:
        name, read_list = VID_LISTS[split]
        videos[split] = read_list(find_list(root, name))
    for split, listed in videos.items():
        _convert(
            out_dir / f'imagenet_vid_{split}.json',
            categories=_categories(),
            videos=listed,
            batches=(_video_batch(video, i) for i, video in enumerate(listed, 1)),
            total=sum(video.num_frames for video in listed),
            read=read,
            workers=workers,
        )


def convert_det(root: Path, out_dir: Path, workers: int | None = None) -> None:
    """Write OUT_DIR/imagenet_det_30plus1cls.json: listed images first, then all others.

    Objects of the other classes become category 31; a row that occurs twice makes two images.
    Arguments and errors as `convert_vid`.
    """
    folder = annotation_folder(root, 'DET')
    listed = read_det_images(find_list(root, DET_LIST))
    known = {name for name, _ in listed}
    others = [name for name in list_det_images(folder) if name not in known]
    rows = listed + [(name, '') for name in others]
    _convert(
        out_dir / 'imagenet_det_30plus1cls.json',
        categories=[*_categories(), {**OTHER_CATEGORY, 'encode_name': None}],
        videos=None,
        batches=_det_batches(rows),
        total=len(rows),
        read=partial(read_batch, folder=str(folder), images=image_folder(root, 'DET')),
        workers=workers,
    )


def _categories() -> list[dict]:
    pairs = zip(IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS, strict=True)
    return [{'id': i, 'name': n, 'encode_name': wnid} for i, (n, wnid) in enumerate(pairs, 1)]


def _video_batch(video: Video, video_id: int) -> Batch:
    frames = range(video.num_frames)
    keys = set(video.key_frames)
    return Batch(
        names=[f'{video.name}/{frame:06d}' for frame in frames],
        origins=[video.origin] * video.num_frames,
        is_key=[frame in keys for frame in frames],
        video_id=video_id,
    )


def _det_batches(rows: list[tuple[str, str]]) -> Iterator[Batch]:
    for start in range(0, len(rows), DET_BATCH):
        names, origins = zip(*rows[start : start + DET_BATCH], strict=True)
        yield Batch(list(names), list(origins), is_key=[origin != '' for origin in origins])


def _convert(
    path: Path,
    categories: list[dict],
    videos: list[Video] | None,
    batches: Iterable[Batch],
    total: int,
    read: Callable[[Batch], tuple[array, array]],
    workers: int | None,
) -> None:
    console = Console()
    counted = f'{total:,} files' if videos is None else f'{len(videos):,} videos, {total:,} files'
    console.print(f'Converting {counted} to {path}', soft_wrap=True)
    boxes, summary = array('q'), Summary([category['name'] for category in categories])
    with atomic_write(path) as file, FrameProgress(total, 'Reading XML') as progress:
        results = _parallel(read, batches, workers)
        with closing(results):  # after an error, at once: no worker reads on
            file.write(f'{{"categories": {json.dumps(categories)}')
            if videos is not None:
                _write_list(file, 'videos', _video_entries(videos))
            _write_list(
                file, 'images', _image_entries(_advancing(results, progress), boxes, summary)
            )
        _write_list(file, 'annotations', _annotation_entries(boxes, videos is not None))
        file.write('}')
    summary.print(console)
    console.print(f'Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)', soft_wrap=True)


def _parallel(
    read: Callable[[Batch], tuple[array, array]], batches: Iterable[Batch], workers: int | None
) -> Iterator[tuple[Batch, array, array]]:
    """Batches with what `read` found, in order; a few per worker are under way at any time."""
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    if workers == 1:
        yield from ((batch, *read(batch)) for batch in batches)
        return
    pending: deque = deque()
    with ProcessPoolExecutor(workers) as pool:
        try:
            for batch in batches:
                pending.append((batch, pool.submit(read, batch)))
                if len(pending) > 4 * workers:
                    done, future = pending.popleft()
                    yield (done, *future.result())
            while pending:
                done, future = pending.popleft()
                yield (done, *future.result())
        finally:
            for _, future in pending:
                future.cancel()


def _advancing(results: Iterable, progress: FrameProgress) -> Iterator:
    for result in results:
        yield result
        progress.advance(len(result[0].names))


def _video_entries(videos: list[Video]) -> Iterator[dict]:
    for video_id, video in enumerate(videos, 1):
        yield {'id': video_id, 'name': video.name, 'vid_train_frames': video.key_frames}


def _image_entries(
    results: Iterable[tuple[Batch, array, array]], kept: array, summary: Summary
) -> Iterator[dict]:
    """The images in list order; their boxes go to `kept` (KEPT_FIELDS each), counted."""
    image_id = instances = 0
    for batch, sizes, boxes in results:
        first, tracks = image_id + 1, 0
        for i in range(0, len(boxes), READ_FIELDS):
            frame, category, x, y, w, h, track, *flags = boxes[i : i + READ_FIELDS]
            place = (batch.video_id, first + frame, category)
            kept.extend((*place, instances + track + 1, x, y, w, h, *flags))
            summary.add_box(*place, has_area=w > 0 and h > 0)
            tracks = max(tracks, track + 1)
        instances += tracks
        summary.add_frames(len(batch.names), videos=int(batch.video_id > 0))
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


def _annotation_entries(kept: array, in_video: bool) -> Iterator[dict]:
    for i in range(0, len(kept), KEPT_FIELDS):
        video, image, category, instance, x, y, w, h, occluded, generated = kept[
            i : i + KEPT_FIELDS
        ]
        yield {
            'id': i // KEPT_FIELDS + 1,
            **({'video_id': video} if in_video else {}),
            'image_id': image,
            'category_id': category,
            **({'instance_id': instance} if in_video else {}),
            'bbox': [x, y, w, h],
            'area': w * h,
            'iscrowd': False,
            **({'occluded': bool(occluded), 'generated': bool(generated)} if in_video else {}),
        }


def _write_list(file: IO, key: str, entries: Iterable[dict]) -> None:
    """One more key of the open JSON object, its list written entry by entry."""
    file.write(f', "{key}": [')
    for i, entry in enumerate(entries):
        file.write((', ' if i else '') + json.dumps(entry))
    file.write(']')
