"""Kinds of files that a stranger may give, and how they are read.

Where it can, a kind says by other means what a damaged file holds (`says`): json and not our
stream, pickle and not our unpickler.
"""

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import yaml

from mmdet.core.images import read_image
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.engine.config_load import load_config
from mmdet.evaluation.results import read_pkl
from mmdet.video.video_file import VideoFile

UNKNOWN = object()  # nobody can tell what the file holds


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        file: its name.
        content: bytes, or with `dump` the value that structural damage starts from.
        read: reads the file.
        says: what damaged bytes hold, by other means, or UNKNOWN.
    """

    name: str
    file: str
    content: Any
    read: Callable[[Path], Any]
    dump: Callable[[Any], bytes] | None = None
    says: Callable[[bytes], Any] = lambda data: UNKNOWN

    @property
    def text(self) -> bool:
        """Whether words of it are exchanged, too."""
        return self.dump in (as_json, as_yaml)

    def whole(self) -> bytes:
        return self.dump(self.content) if self.dump else self.content


# -- pickles --------------------------------------------------------------------------------------

ROWS = np.arange(20, dtype=np.float32).reshape(4, 5)
LISTS = [[ROWS[i : i + 1] if c == i % 3 else ROWS[:0] for c in range(3)] for i in range(4)]


def pickle_says(data: bytes) -> list:
    lists = pickle.loads(data)
    return [np.asarray(rows, np.float32).tolist() for per_class in lists for rows in per_class]


def from_pkl(path: Path) -> list:
    found = read_pkl(path, 4, 3)
    rows = np.concatenate([found.boxes, found.score[:, None]], axis=1)
    return [rows[found.image * 3 + found.label == i].tolist() for i in range(12)]


# -- JSON and YAML ---------------------------------------------------------------------------------

CONFIG = {'model': {'type': 'SELSA', 'width': 64}, 'a': [1, {'b': 'c'}, 2.5], 'work_dir': 'x'}
ANNOTATIONS = {
    'videos': [{'id': 1, 'name': 'v'}],
    'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
    'images': [
        dict(id=i, video_id=1, frame_id=i - 1, file_name=f'v/{i}.jpg', width=64, height=48)
        for i in range(1, 5)
    ],
    'annotations': [
        dict(id=i, image_id=i, category_id=1 + i % 2, bbox=[3.5, i, 10, 12], instance_id=7)
        for i in range(1, 5)
    ],
}


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value).encode()


def config(path: Path) -> dict:
    return load_config(path, work_dir='x').to_dict()


def config_says(data: bytes) -> dict:
    return {**yaml.safe_load(data.decode('utf-8-sig')), 'work_dir': 'x'}


def from_index(path: Path) -> list:
    index = CocoVideoIndex.open(path)
    objects = []
    for i in range(len(index)):
        for row in range(*index.annotations_of(i).indices(10**6)):
            box = index.ann_boxes[row].tolist()
            category = int(index.ann_categories[row])
            objects.append([int(index.image_ids[i]), index.file_name(i), category, box])
    return sorted(objects)


def index_says(data: bytes) -> list:
    content = json.loads(data.decode('utf-8-sig'))
    names = {image['id']: image['file_name'] for image in content['images']}
    return sorted(
        [a['image_id'], names[a['image_id']], a['category_id'], list(map(float, a['bbox']))]
        for a in content['annotations']
    )


# -- images and videos -----------------------------------------------------------------------------


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 4, rows * columns], axis=2).astype(np.uint8)


def jpeg_says(data: bytes) -> Any:
    """Whether the JPEG library of OpenCV complains, which it does on the standard error."""
    kept, file = os.dup(2), os.memfd_create('stderr')
    os.dup2(file, 2)
    try:
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, 'rb') as said:
        return 'a warning' if b'orrupt JPEG' in said.read() else UNKNOWN


def film() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, 'w', format='mp4') as container:
        container.metadata['title'] = 'a title to be damaged'
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, 'yuv420p'
        for i in range(12):
            moved = np.roll(picture(96, 160), 4 * i, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format='bgr24')))
        container.mux(stream.encode())
    return buffer.getvalue()


def from_film(path: Path) -> int:
    with contextlib.closing(VideoFile(path)) as video:
        frames = len(list(video.frames()))
        if frames and video.count():
            video.read(video.count() - 1)
        return frames


def kinds() -> list[Kind]:
    progressive = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 5)
    jpeg = cv2.imencode('.jpg', picture(), progressive)[1].tobytes()
    return [
        Kind('results .pkl', 'r.pkl', LISTS, from_pkl, pickle.dumps, pickle_says),
        Kind('config .yaml', 'c.yaml', CONFIG, config, as_yaml, config_says),
        Kind('annotations .json', 'a.json', ANNOTATIONS, from_index, as_json, index_says),
        Kind('image .jpg', 'i.jpg', jpeg, read_image, says=jpeg_says),
        Kind('video .mp4', 'v.mp4', film(), from_film),
    ]
