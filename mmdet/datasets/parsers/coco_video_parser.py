"""The annotation index: a CocoVID (or plain COCO) file as flat, memory-mapped arrays.

N: images in file order, A: annotations grouped by image, V: videos in file order. *Position*
means an index into such an array, *id* the number that the file gives.
"""

import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .annotation_check import find, read_annotations
from .annotation_table import AnnotationError, read_text
from .index_cache import (
    BLOCK,
    FORMAT_VERSION,
    StaleCache,
    block_digest,
    combine,
    digest_of_file,
    read_index,
    write_index,
)

__all__ = ['AnnotationError', 'CocoVideoIndex']


class CocoVideoIndex:
    """Images, annotations, videos and categories of one annotation file. Made by `open`.

    Attributes:
        image_ids: [N] int64.
        image_heights, image_widths: [N] int32, pixels.
        image_video: [N] int32, position of the video, -1 without one.
        image_frame_ids: [N] int32, 0..n-1 within the video, -1 without one.
        image_is_train_frame: [N] bool; True where the file does not say (see `has_train_flags`).
        ann_offsets: [N + 1] int64; annotations of image i are rows ann_offsets[i] to [i + 1].
        ann_ids: [A] int64.
        ann_boxes: [A, 4] float64, (x, y, width, height) as in the file, pixels.
        ann_categories: [A] int32, category ids.
        ann_areas: [A] float64, width * height where the file does not say.
        ann_instance_ids: [A] int64, -1 where the file does not say.
        ann_iscrowd, ann_ignore: [A] bool, False where the file does not say.
        video_ids: [V] int64.
        video_offsets: [V + 1] int64 into `video_images`.
        video_images: positions of the images, by video and frame id (int32).
        categories: the file's list of dicts.
        has_track_ids: every annotation of the file has an `instance_id`.
        has_train_flags: some image of the file has `is_vid_train_frame`.
    """

    def __init__(self, ann_file: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]):
        self.ann_file = ann_file
        self._arrays = arrays
        self.image_ids = arrays['image_ids']
        self.image_heights = arrays['image_heights']
        self.image_widths = arrays['image_widths']
        self.image_video = arrays['image_video']
        self.image_frame_ids = arrays['image_frame_ids']
        self.image_is_train_frame = arrays['image_is_train_frame']
        self.ann_offsets = arrays['ann_offsets']
        self.ann_ids = arrays['ann_ids']
        self.ann_boxes = arrays['ann_boxes']
        self.ann_categories = arrays['ann_categories']
        self.ann_areas = arrays['ann_areas']
        self.ann_instance_ids = arrays['ann_instance_ids']
        self.ann_iscrowd = arrays['ann_iscrowd']
        self.ann_ignore = arrays['ann_ignore']
        self.video_ids = arrays['video_ids']
        self.video_offsets = arrays['video_offsets']
        self.video_images = arrays['video_images']
        self.categories: list[dict] = meta['categories']
        self.has_track_ids: bool = meta['has_track_ids']
        self.has_train_flags: bool = meta['has_train_flags']

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
                where that cannot be written, `$VFE_CACHE` (`~/.cache/vfe`).
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
            key = _key(digest_of_file(file.fileno()), load_img_as_vid)
        folders = _cache_folders(path, cache_dir)
        for folder in folders:
            try:
                return cls(path, *read_index(folder / _file_name(key), key))
            except StaleCache:
                continue
        return cls(path, *_build(path, folders, load_img_as_vid))

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
        return read_text(self._arrays, 'image_name', image)

    def video_name(self, video: int) -> str:
        """Name of the video at this position."""
        return read_text(self._arrays, 'video_name', video)

    def positions_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Positions of images by id, -1 where the file has no such id."""
        order = self._arrays['image_id_order']
        return find(self.image_ids, order, np.asarray(image_ids))

    def position_of(self, image_id: int) -> int:
        """Position of an image by id.

        Raises:
            KeyError: no such id.
        """
        position = int(self.positions_of(image_id))
        if position < 0:
            raise KeyError(f'image id {image_id} is not in {self.ann_file}')
        return position


def _key(content: str, load_img_as_vid: bool) -> dict[str, Any]:
    return {'version': FORMAT_VERSION, 'content': content, 'load_img_as_vid': load_img_as_vid}


def _file_name(key: dict[str, Any]) -> str:
    kind = 'images-as-videos' if key['load_img_as_vid'] else 'plain'
    return f'{key["content"][:32]}-{kind}-v{key["version"]}.index'


def _cache_folders(path: Path, cache_dir: str | os.PathLike | None) -> list[Path]:
    name = f'.{path.name}.vfe-cache'
    if cache_dir is not None:
        return [Path(cache_dir) / name]
    shared = Path(os.environ.get('VFE_CACHE') or Path.home() / '.cache' / 'vfe')
    return [path.parent / name, shared / name]


def _build(path: Path, folders: list[Path], load_img_as_vid: bool):
    digests: list[bytes] = []
    collecting = gc.isenabled()
    gc.disable()  # millions of short-lived dicts without cycles
    try:
        arrays, meta = read_annotations(path, _blocks(path, digests), load_img_as_vid)
    finally:
        if collecting:
            gc.enable()
    key = _key(combine(digests), load_img_as_vid)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_index(folder / _file_name(key), key, arrays, meta)
            return read_index(folder / _file_name(key), key)
        except (OSError, StaleCache):
            continue
    warnings.warn(f'no index of {path} could be written to {folders}', stacklevel=3)
    return arrays, meta


def _blocks(path: Path, digests: list[bytes]) -> Iterator[bytes]:
    with open(path, 'rb') as file:
        while block := file.read(BLOCK):
            digests.append(block_digest(block))
            yield block
