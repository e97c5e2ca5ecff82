"""Every kind of file that a stranger may give, and how it is read.

Where it can, a kind says by other means what a damaged file holds (`says`): json and not our
stream, pickle and not our unpickler.
"""

import contextlib
import io
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.dom import minidom

import av
import cv2
import numpy as np
import scipy.io
import torch
import yaml

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.images import read_image
from mmdet.datasets.motion import motion_from_mat
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.engine.checkpoint_schema import check_resumable
from mmdet.engine.config_load import load_config
from mmdet.evaluation.evaluate import evaluate_results
from mmdet.evaluation.frame_list import read_frame_list
from mmdet.evaluation.rank_detections import RankDetections, load_spills, write_spill
from mmdet.evaluation.results import read_coco_json, read_pkl
from mmdet.programs.analyse.training_logs import load_training
from mmdet.programs.convert.conversion import READERS
from mmdet.programs.convert.ilsvrc import read_train_videos
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


# -- checkpoints and pickles -----------------------------------------------------------------------


def checkpoint() -> dict:
    gen = torch.Generator().manual_seed(0)
    weights = {'a.weight': torch.randn(20, 30, generator=gen), 'b': torch.arange(50)}
    return {
        'meta': {'epoch': 1, 'iter': 10, 'iters_per_epoch': 10, 'seed': 3, 'saved_at': 1.5},
        'state_dict': weights | {'a.bias': torch.randn(20, generator=gen)},
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


def spill() -> bytes:
    ones = np.ones(4, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        write_spill(RankDetections(np.arange(4), ones, ones.astype(np.int16), ROWS), folder, 0)
        return Path(folder, 'detections/rank_0.npz').read_bytes()


def from_spill(path: Path) -> list:
    truth = SimpleNamespace(image_ids=np.arange(4), classes=('cat', 'dog'))
    found = load_spills(path.parent, truth)
    return [part.tolist() for part in (found.image, found.label, found.boxes, found.score)]


# -- JSON, YAML and Python -------------------------------------------------------------------------

CONFIG_PY = """model = dict(type='SELSA', detector=dict(type='FasterRCNN', width=64))
a = [1, dict(b='c'), 2.5]
work_dir = 'x'
"""
ENTRIES = [
    {'image_id': i, 'category_id': 1 + i % 2, 'bbox': [1.0, 2.0, 3.5, 4.0], 'score': 0.5}
    for i in range(1, 5)
]
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


def as_python(data: bytes) -> dict:
    names: dict = {}
    exec(compile(data, 'config', 'exec'), names)
    return {k: v for k, v in names.items() if not k.startswith('__')} | {'work_dir': 'x'}


def config(path: Path) -> dict:
    return load_config(path, work_dir='x').to_dict()


def config_says(parse: Callable[[str], dict]) -> Callable[[bytes], dict]:
    return lambda data: {**parse(data.decode('utf-8-sig')), 'work_dir': 'x'}


def rounded(numbers: list) -> list[float]:
    return [float(f'{np.float32(number):.4g}') for number in numbers]


def from_coco_json(path: Path) -> list:
    found = read_coco_json(path, np.arange(1, 5), (1, 2))
    sides = found.boxes.astype(float)
    sides[:, 2:] -= sides[:, :2]
    rows = zip(found.image + 1, found.label + 1, sides, found.score, strict=True)
    return sorted([int(i), int(c), *rounded([*box, score])] for i, c, box, score in rows)


def coco_json_says(data: bytes) -> list:
    rows = []
    for entry in json.loads(data):
        x, y, w, h = map(float, entry['bbox'])
        x1, y1, x2, y2 = np.float32([x, y, x + w, y + h])
        sides = [float(x2) - float(x1), float(y2) - float(y1)]
        numbers = rounded([x1, y1, *sides, entry['score']])
        rows.append([entry['image_id'], entry['category_id'], *numbers])
    return sorted(rows)


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
    videos = [
        [image['id'] for image in frames if image['video_id'] == video['id']]
        for video in content['videos']
    ]
    return [sorted(objects), videos]


def from_log(path: Path) -> list:
    log = load_training(path)
    return [log.train, log.val]


def lines_of(data: bytes) -> list[str]:
    text = data.decode('utf-8-sig').replace('\r\n', '\n').replace('\r', '\n')
    return [line for line in text.split('\n') if line.strip()]


def log_says(data: bytes) -> list:
    rows = [json.loads(line, parse_int=float) for line in lines_of(data)]
    return [[row for row in rows if 'loss' in row], [row for row in rows if 'loss' not in row]]


# -- labels of converters --------------------------------------------------------------------------

VOC = """<annotation>
  <filename>0.png</filename><size><width>64</width><height>48</height></size>
  <object><name>cat</name><track_id>4</track_id>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>14.5</ymax></bndbox></object>
  <object><name>dog</name>
    <bndbox><xmin>3</xmin><ymin>4</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
</annotation>
"""
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
  <meta><task><name>t</name><size>1</size><start_frame>0</start_frame><stop_frame>0</stop_frame>
    <original_size><width>64</width><height>48</height></original_size></task></meta>
  <track id="0" label="cat">
    <box frame="0" outside="0" occluded="1" keyframe="1" xtl="1" ytl="2" xbr="11" ybr="14.5"/>
  </track>
</annotations>
"""
MOT_CLASSES = (
    *('pedestrian', 'person_on_vehicle', 'car', 'bicycle', 'motorbike', 'non_mot_vehicle'),
    *('static_person', 'distractor', 'occluder', 'occluder_on_ground', 'occluder_full'),
    *('reflection', 'crowd'),
)
MOT = '1,7,1,2,10,12.5,1,1,0.9\n1,8,3,4,27,36,1,-1,1\n'
YOLO = '0 0.5 0.5 0.25 0.5 7\n1 0.25 0.25 0.5 0.5 8\n'
SEQINFO = '[Sequence]\nname=s\nframeRate=30\nseqLength=1\nimWidth=64\nimHeight=48\n'


def converted(kind: str, source: str = '', up: int = 0) -> Callable[[Path], list]:
    """Reads `source` in the folder that is `up` folders above that of the damaged file."""

    def read(path: Path) -> list:
        folder = path.parents[up]
        found = READERS[kind]([folder / source], LayoutOptions(folder))
        objects = [o for video in found.videos for frame in video.read() for o in frame.objects]
        return sorted([o.name, rounded(o.bbox), o.track is None] for o in objects)

    return read


def voc_says(data: bytes) -> list:
    def text(node, tag: str) -> str:
        (found,) = node.getElementsByTagName(tag)
        return ''.join(child.data for child in found.childNodes).strip()

    objects = []
    for node in minidom.parseString(data).getElementsByTagName('object'):
        x1, y1, x2, y2 = (float(text(node, side)) for side in ('xmin', 'ymin', 'xmax', 'ymax'))
        untracked = not node.getElementsByTagName('track_id') or not text(node, 'track_id')
        objects.append([text(node, 'name'), rounded([x1, y1, x2 - x1, y2 - y1]), untracked])
    return sorted(objects)


def mot_says(data: bytes) -> list:
    objects = []
    for line in lines_of(data):
        fields = line.replace(',', ' ').split()
        number = int(float(fields[7])) if len(fields) > 7 else -1
        box = rounded([float(side) for side in fields[2:6]])
        objects.append([MOT_CLASSES[max(number, 1) - 1], box, float(fields[1]) == -1])
    return sorted(objects)


def yolo_says(data: bytes) -> list:
    objects = []
    for line in lines_of(data):
        number, x, y, w, h, *track = map(float, line.split())
        box = [64 * (x - w / 2), 48 * (y - h / 2), 64 * w, 48 * h]
        objects.append([('cat', 'dog')[int(number)], rounded(box), track in ([], [-1])])
    return sorted(objects)


def from_ilsvrc(path: Path) -> list:
    return [[v.name, v.num_frames, v.key_frames] for v in read_train_videos(path)]


def ilsvrc_says(data: bytes) -> list:
    videos: dict = {}
    for name, _, frame, length in map(str.split, lines_of(data)):
        videos.setdefault(name, (int(length), []))[1].append(int(frame) - 1)
    return [[name, *rest] for name, rest in videos.items()]


def from_frame_list(path: Path) -> list[int]:
    return read_frame_list(path, CocoVideoIndex.open(path.with_name('a.json'))).tolist()


def frame_list_says(data: bytes) -> list[int]:
    return sorted({int(line.split()[1]) + 1 for line in lines_of(data) if not line.startswith('#')})


# -- images, videos, evaluation --------------------------------------------------------------------


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 4, rows * columns], axis=2).astype(np.uint8)


def image(ending: str, *options: int) -> bytes:
    blurred = cv2.GaussianBlur(picture(120, 160), (0, 0), 1.5)
    return cv2.imencode(ending, blurred, options)[1].tobytes()


def pixels(path: Path) -> np.ndarray:
    return read_image(str(path))


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


def motion() -> bytes:
    cells = np.empty((4, 1), object)
    for i in range(4):
        cells[i, 0] = np.array([[0.1 + 0.2 * i]])
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {'motion_iou': cells}, do_compression=True)
    return buffer.getvalue()


def from_motion(path: Path) -> list:
    return motion_from_mat(path, CocoVideoIndex.open(path.with_name('a.json'))).tolist()


def scores(path: Path) -> bool:
    """Whether all metrics are in 0..1 or undefined, which `legal` says."""
    found = evaluate_results(path.with_name('r.json'), path.with_name('a.json'))
    return all(value is None or 0 <= value <= 1 for value in found.values())


def legal(data: bytes) -> bool:
    return True


def kinds() -> list[Kind]:
    frame = cv2.imencode('.png', picture())[1].tobytes()
    rows, truth = {'r.json': as_json(ENTRIES)}, {'a.json': as_json(ANNOTATIONS)}
    voc, cvat = {'v/0.png': frame}, {'c/0.png': frame}
    mot = {'s/img1/1.png': frame, 's/gt/gt.txt': MOT}
    yolo = {'images/1.png': frame, 'labels/1.txt': YOLO}
    classes, names = {'classes.txt': 'cat\ndog\n'}, 'nc: 2\nnames: [cat, dog]\n'
    frames, videos = 'v 0\nv 2\n', 'a/b 1 1 20\na/b 1 11 20\na/c 1 1 5\n'
    progressive = image('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 5)
    log, cfg = {'loss': 1.5, 'step': 3}, as_python(CONFIG_PY.encode())
    as_pkl = partial(pickle.dumps, protocol=2)
    json_says, yaml_says = config_says(json.loads), config_says(yaml.safe_load)
    from_yolo = converted('yolo', up=1)
    return [
        Kind('checkpoint (zip)', 'c.pth', checkpoint(), resumable, saved, sums=True),
        Kind('checkpoint (old)', 'c.pth', checkpoint(), resumable, saved_before_1_6, torch_says),
        Kind('results .pkl', 'r.pkl', LISTS, from_pkl, as_pkl, pickle_says),
        Kind('results .json', 'r.json', ENTRIES, from_coco_json, as_json, coco_json_says),
        Kind('config .json', 'c.json', cfg, config, as_json, json_says),
        Kind('config .yaml', 'c.yaml', cfg, config, as_yaml, yaml_says),
        Kind('config .py', 'c.py', CONFIG_PY, config, says=as_python),
        Kind('annotations .json', 'a.json', ANNOTATIONS, from_index, as_json, index_says),
        Kind('training log', 'l.json', log, from_log, as_json, log_says),
        Kind('VOC .xml', 'v/0.xml', VOC, converted('voc', up=1), says=voc_says, beside=voc),
        Kind('CVAT .xml', 'c.xml', CVAT, converted('cvat', 'c.xml'), beside=cvat),
        Kind('COCO .json', 'a.json', ANNOTATIONS, converted('coco', 'a.json'), as_json),
        Kind('MOT gt.txt', 's/gt/gt.txt', MOT, converted('mot', 's', 2), says=mot_says, beside=mot),
        Kind('MOT seqinfo.ini', 's/seqinfo.ini', SEQINFO, converted('mot', 's', 1), beside=mot),
        Kind('YOLO label', 'labels/1.txt', YOLO, from_yolo, says=yolo_says, beside=yolo | classes),
        Kind('YOLO data.yaml', 'data.yaml', names, converted('yolo'), beside=yolo),
        Kind('ILSVRC list', 'l.txt', videos, from_ilsvrc, says=ilsvrc_says),
        Kind('frame list', 'l.txt', frames, from_frame_list, says=frame_list_says, beside=truth),
        Kind('image .jpg', 'i.jpg', image('.jpg'), pixels, says=jpeg_says),
        Kind('image .jpg (progressive)', 'i.jpg', progressive, pixels, says=jpeg_says),
        Kind('image .png', 'i.png', image('.png'), pixels, sums=True),
        *(Kind(f'image {end}', f'i{end}', image(end), pixels) for end in ('.webp', '.tif', '.bmp')),
        Kind('video .mp4', 'v.mp4', film(), from_film),
        Kind('motion .mat', 'm.mat', motion(), from_motion, beside=truth),
        Kind('spilled detections', 'detections/rank_0.npz', spill(), from_spill, sums=True),
        Kind('evaluation: results', 'r.json', ENTRIES, scores, as_json, legal, beside=truth),
        Kind('evaluation: annotations', 'a.json', ANNOTATIONS, scores, as_json, legal, beside=rows),
    ]
