"""The annotation index: a CocoVID (or plain COCO) file as flat, memory-mapped arrays.

N: images in file order, A: annotations grouped by image, V: videos in file order. *Position*
means an index into such an array, *id* the number that the file gives.
"""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from rich.progress import DownloadColumn, Progress

from mmdet.datasets.parsers.annotation_reader import Arrays, find, read_annotations
from mmdet.datasets.parsers.annotation_table import Report, read_text
from mmdet.datasets.parsers.index_cache import (
    BLOCK,
    Key,
    StaleCache,
    Stored,
    block_digest,
    building,
    cache_folders,
    combine,
    content_key,
    digest_of,
    file_name,
    first_writable,
    read_index,
    write_index,
)

_LONG = 64 << 20  # bytes that take over a second to read


class CocoVideoIndex:
    """Images, annotations, videos and categories of one annotation file. Made by `open`."""

    image_ids: np.ndarray  # [N] int64
    image_heights: np.ndarray  # [N] int32, pixels
    image_widths: np.ndarray
    image_video: np.ndarray  # [N] int32, position of the video, -1 without one
    image_frame_ids: np.ndarray  # [N] int32, 0..n-1 within the video, -1 without one
    image_is_train_frame: np.ndarray  # [N] bool; True where the file does not say
    ann_offsets: np.ndarray  # [N + 1] int64; those of image i are rows ann_offsets[i] to [i + 1]
    ann_ids: np.ndarray  # [A] int64
    ann_boxes: np.ndarray  # [A, 4] float64, (x, y, width, height) as in the file, pixels
    ann_categories: np.ndarray  # [A] int32, category ids (int64 where they need it)
    ann_areas: np.ndarray  # [A] float64, width * height where the file does not say
    ann_instance_ids: np.ndarray  # [A] int64, -1 where the file does not say
    ann_iscrowd: np.ndarray  # [A] bool, False where the file does not say
    ann_ignore: np.ndarray
    video_ids: np.ndarray  # [V] int64
    video_offsets: np.ndarray  # [V + 1] int64 into `video_images`
    video_images: np.ndarray  # positions of the images, by video and frame id (int32)
    categories: list[dict]  # as in the file
    has_track_ids: bool  # every annotation of the file has an `instance_id`

    def __init__(self, ann_file: Path, stored: Stored, reopen: tuple):
        self.ann_file = ann_file
        self._stored, self._reopen = stored, reopen
        values = stored.arrays | stored.meta
        for name in CocoVideoIndex.__annotations__:
            setattr(self, name, values[name])

    @classmethod
    def open(
        cls,
        ann_file: str | os.PathLike,
        cache_dir: str | os.PathLike | None = None,
        load_img_as_vid: bool = False,
    ) -> 'CocoVideoIndex':
        """Map the index of an annotation file, building it first if there is none for its content.

        Args:
            ann_file: JSON file.
            cache_dir: folder for the index. By default `.<name>.vfe-cache` beside the file or,
                where that cannot be written, in `$VFE_CACHE` (`~/.cache/vfe`).
            load_img_as_vid: if the file has no videos, make every image a video of one frame:
                video id = image id, frame id 0, instance id = annotation id.

        Raises:
            FileNotFoundError: no such annotation file.
            AnnotationError: the file, the entry's id and the rule it breaks.
        """
        path = Path(ann_file)
        if not path.is_file():
            raise FileNotFoundError(f'{path}: there is no such annotation file')
        with open(path, 'rb') as file:
            key = content_key(digest_of(file), load_img_as_vid=bool(load_img_as_vid))
        folders = cache_folders(path, cache_dir)
        stored = _find(folders, key)
        if stored is None:
            stored, key = _build(path, folders, key)
        return cls(path, stored, (path, cache_dir, key))

    @classmethod
    def read(cls, ann_file: str | os.PathLike, report: Report | None = None) -> 'CocoVideoIndex':
        """The legal entries of an annotation file, read anew; no index is kept.

        Args:
            ann_file: JSON file.
            report: takes the faults; None: the first one is raised.

        Raises:
            AnnotationError: it is no annotation file, or has a fault and there is no `report`.
            OSError: it cannot be read.
        """
        arrays, meta, _ = _read(Path(ann_file), False, report)
        return cls(Path(ann_file), Stored(arrays, meta), ())

    def __reduce__(self):
        """Travels as the path of its file, which the other process maps: pages are shared."""
        if self._stored.path is None:
            return CocoVideoIndex, (self.ann_file, self._stored, self._reopen)
        return _restore, (*self._reopen, self._stored.path, self._stored.digest)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    def videos(self) -> range:
        """Positions of the videos."""
        return range(len(self.video_ids))

    def frames_of(self, video: int) -> np.ndarray:
        """Positions of a video's images; frame f of the video is element f."""
        return self.video_images[self.video_offsets[video] : self.video_offsets[video + 1]]

    def annotations_of(self, image: int) -> slice:
        """The rows of the `ann_` arrays that belong to the image at this position."""
        return slice(int(self.ann_offsets[image]), int(self.ann_offsets[image + 1]))

    def file_name(self, image: int) -> str:
        """Path of the image at this position, as in the file (relative to the image folder)."""
        return read_text(self._stored.arrays, 'image_name', image)

    def video_name(self, video: int) -> str:
        """Name of the video at this position."""
        return read_text(self._stored.arrays, 'video_name', video)

    def positions_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Positions of images by id, -1 where the file has no such id."""
        arrays = self._stored.arrays
        return find(arrays['image_ids_sorted'], arrays['image_id_order'], np.asarray(image_ids))

    def position_of(self, image_id: int) -> int:
        """Position of an image by id.

        Raises:
            KeyError: no such id.
        """
        position = int(self.positions_of(image_id))
        if position < 0:
            raise KeyError(f'image id {image_id} is not in {self.ann_file}')
        return position


def _restore(
    path: Path, cache_dir: str | os.PathLike | None, key: Key, index_file: Path, digest: str
) -> CocoVideoIndex:
    """An index in another process; if its file is gone, from the annotation file."""
    try:
        return CocoVideoIndex(path, read_index(index_file, key, digest), (path, cache_dir, key))
    except StaleCache:
        index = CocoVideoIndex.open(path, cache_dir, key['load_img_as_vid'])
    if index._reopen[2] != key:
        raise RuntimeError(f'{path} was changed while it was in use: start again')
    return index


def _find(folders: list[Path], key: Key) -> Stored | None:
    for folder in folders:
        try:
            return read_index(folder / file_name(key), key)
        except StaleCache:
            continue
    return None


def _build(path: Path, folders: list[Path], key: Key) -> tuple[Stored, Key]:
    """Read the annotation file, and keep the index in the first folder that takes it."""
    folder = first_writable(folders)
    with nullcontext() if folder is None else building(folder):
        stored = _find(folders, key)  # another process may have built it meanwhile
        if stored is not None:
            return stored, key
        arrays, meta, content = _read(path, key['load_img_as_vid'])
        key = key | {'content': content}
        reason = 'no folder is writable'
        try:
            if folder is not None:
                return read_index(write_index(folder, key, arrays, meta), key), key
        except (OSError, StaleCache) as error:
            reason = str(error)
    warnings.warn(
        f'No index of {path} could be kept in {" or ".join(map(str, folders))} ({reason}): every '
        f'process reads the file anew. Point the environment variable VFE_CACHE at a folder.',
        stacklevel=3,
    )
    return Stored(arrays, meta), key


def _read(
    path: Path, load_img_as_vid: bool, report: Report | None = None
) -> tuple[Arrays, dict[str, Any], str]:
    """Arrays, plain values, and the digest of the bytes they were made from."""
    digests: list[bytes] = []
    collecting = gc.isenabled()
    gc.disable()  # millions of short-lived dicts without cycles
    try:
        with closing(_blocks(path, digests)) as blocks:  # after an error, too, the bar goes
            return *read_annotations(path, blocks, load_img_as_vid, report), combine(digests)
    finally:
        if collecting:
            gc.enable()


def _blocks(path: Path, digests: list[bytes]) -> Iterator[bytes]:
    """The file's bytes, their digests on the way; a long file shows how far it is."""
    size = path.stat().st_size
    if size > _LONG:
        print_log(f'Reading {path} ({size / 1e6:.0f} MB)', 'current')
    columns = (*Progress.get_default_columns(), DownloadColumn())
    with open(path, 'rb') as file, Progress(*columns, disable=size <= _LONG) as progress:
        task = progress.add_task(f'Reading {path.name}', total=size)
        while block := file.read(BLOCK):
            digests.append(block_digest(block))
            yield block
            progress.advance(task, len(block))
