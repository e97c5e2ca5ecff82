"""Kinds of files that a stranger may give, and how they are read.

Where it can, a kind says by other means what a damaged file holds (`says`): json and not our
stream, pickle and not our unpickler.
"""

import contextlib
import io
import json
import os
import pickle
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
import yaml

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.images import read_image
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.engine.checkpoint_schema import check_resumable
from mmdet.engine.config_load import load_config
from mmdet.evaluation.results import read_pkl
from mmdet.programs.convert.conversion import READERS
from mmdet.programs.convert.label_files import LayoutOptions
from mmdet.video.video_file import VideoFile

UNKNOWN = object()  # nobody can tell what the file holds


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        file: which file of a set is damaged.
        content: of it: text, bytes, or with `dump` the value that structural damage starts from.
        read: reads the set, given the path of that file.
        says: what damaged bytes hold, by other means, or UNKNOWN.
        sums: the file holds check sums: it is read as it was written, or not at all.
        beside: the other files of the set.
    """

    name: str
    file: str
    content: Any
    read: Callable[[Path], Any]
    dump: Callable[[Any], bytes] | None = None
    says: Callable[[bytes], Any] = lambda data: UNKNOWN
    sums: bool = False
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> bool:
        """Whether words of it are exchanged, too."""
        return isinstance(self.content, str) or self.dump in (as_json, as_yaml)

    def write(self, folder: Path) -> None:
        """Make the whole set."""
        content = self.dump(self.content) if self.dump else self.content
        for name, part in {**self.beside, self.file: content}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(part.encode() if isinstance(part, str) else part)


# -- checkpoints and pickles ----------------------------------------------------------------------


def checkpoint() -> dict:
    return {
        'meta': {'epoch': 1, 'iter': 10, 'iters_per_epoch': 10, 'seed': 3, 'saved_at': 1.5},
        'state_dict': {'a.weight': torch.rand(20, 30), 'b': torch.arange(50)},
        'optimizer': {'state': {0: {'momentum_buffer': torch.ones(20, 30)}}, 'param_groups': [{}]},
        'message_hub': {'runtime_info': {'kept_checkpoints': ['epoch_1.pth'], 'best_score': 0.5}},
    }


def saved(value: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(value, Path(folder, 'c.pth'))
        return Path(folder, 'c.pth').read_bytes()


def saved_before_1_6(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def resumable(path: Path) -> dict:
    value = load_checkpoint_file(path)
    check_resumable(value, path)
    return value


def torch_says(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), 'cpu', weights_only=True)


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
BOXES = [[1, 2, 10, 12], [3.5, 4, 9, 9], [0, 0, 20, 20], [5, 5, 6, 7]]
ANNOTATIONS = {
    'videos': [{'id': 1, 'name': 'v'}],
    'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
    'images': [
        dict(id=i, video_id=1, frame_id=i - 1, file_name=f'v/{i}.jpg', width=64, height=48)
        for i in range(1, 5)
    ],
    'annotations': [
        dict(id=i, image_id=i, category_id=1 + i % 2, bbox=box, instance_id=7)
        for i, box in enumerate(BOXES, 1)
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


def rounded(numbers: list) -> list[float]:
    return [float(f'{np.float32(number):.4g}') for number in numbers]


def from_index(path: Path) -> list:
    index = CocoVideoIndex.open(path)
    objects = []
    for i in range(len(index)):
        for row in range(*index.annotations_of(i).indices(10**6)):
            box = index.ann_boxes[row].tolist()
            category = int(index.ann_categories[row])
            objects.append([int(index.image_ids[i]), index.file_name(i), category, box])
    videos = [index.image_ids[index.frames_of(v)].tolist() for v in index.videos()]
    return [sorted(objects), videos]


def index_says(data: bytes) -> list:
    content = json.loads(data.decode('utf-8-sig'))
    names = {image['id']: image['file_name'] for image in content['images']}
    objects = [
        [a['image_id'], names[a['image_id']], a['category_id'], list(map(float, a['bbox']))]
        for a in content['annotations']
    ]
    frames = sorted(content['images'], key=lambda image: image['frame_id'])
    (video,) = content['videos']
    return [sorted(objects), [[f['id'] for f in frames if f['video_id'] == video['id']]]]


# -- labels of converters -------------------------------------------------------------------------

YOLO = '0 0.5 0.5 0.25 0.5 7\n1 0.25 0.25 0.5 0.5 8\n'


def converted(kind: str, source: str = '', up: int = 0) -> Callable[[Path], list]:
    """Reads `source` in the folder that is `up` folders above that of the damaged file."""

    def read(path: Path) -> list:
        folder = path.parents[up]
        found = READERS[kind]([folder / source], LayoutOptions(folder))
        objects = [o for video in found.videos for frame in video.read() for o in frame.objects]
        return sorted([o.name, rounded(o.bbox), o.track is None] for o in objects)

    return read


def yolo_says(data: bytes) -> list:
    objects = []
    for line in filter(str.strip, re.split('\r\n?|\n', data.decode('utf-8-sig'))):
        number, x, y, w, h, *track = map(float, line.split())
        box = [64 * (x - w / 2), 48 * (y - h / 2), 64 * w, 48 * h]
        objects.append([('cat', 'dog')[int(number)], rounded(box), track in ([], [-1])])
    return sorted(objects)


# -- images and videos -----------------------------------------------------------------------------


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 4, rows * columns], axis=2).astype(np.uint8)


def jpeg() -> bytes:
    """With all that a JPEG may have: progressive, with restart markers."""
    blurred = cv2.GaussianBlur(picture(120, 160), (0, 0), 1.5)
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 5)
    return cv2.imencode('.jpg', blurred, options)[1].tobytes()


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


def from_film(path: Path) -> list:
    """Frames and, with damage, what is noted of it: a film goes on over a damaged frame."""
    video = VideoFile(path)
    with contextlib.closing(video):
        frames = [(f.index, f.image.shape, int(f.image.astype(int).sum())) for f in video.frames()]
        if frames and video.count():
            video.read(video.count() - 1)
        return [frames, video.broken]


def kinds() -> list[Kind]:
    frame = cv2.imencode('.png', picture())[1].tobytes()
    classes = {'images/1.png': frame, 'classes.txt': 'cat\ndog\n'}
    as_pkl, from_yolo = partial(pickle.dumps, protocol=2), converted('yolo', up=1)
    return [
        Kind('checkpoint (zip)', 'c.pth', checkpoint(), resumable, saved, sums=True),
        Kind('checkpoint (old)', 'c.pth', checkpoint(), resumable, saved_before_1_6, torch_says),
        Kind('results .pkl', 'r.pkl', LISTS, from_pkl, as_pkl, pickle_says),
        Kind('config .yaml', 'c.yaml', CONFIG, config, as_yaml, config_says),
        Kind('annotations .json', 'a.json', ANNOTATIONS, from_index, as_json, index_says),
        Kind('COCO .json', 'a.json', ANNOTATIONS, converted('coco', 'a.json'), as_json),
        Kind('YOLO label', 'labels/1.txt', YOLO, from_yolo, says=yolo_says, beside=classes),
        Kind('image .jpg', 'i.jpg', jpeg(), read_image, says=jpeg_says),
        Kind('video .mp4', 'v.mp4', film(), from_film),
    ]
