"""Every kind of file that a stranger may give, and how it is read.

A kind writes a small whole set, reads it with the toolbox, and where it can says by other means
what a damaged file holds (`says`): json and not our stream, pickle and not our unpickler.
"""

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        file: which file of the set is damaged.
        write: makes the set in a folder.
        read: reads it.
        value: what structural damage starts from, with `dump` to write it; None: text or bytes.
        says: what the bytes of a damaged file hold, by other means; None: nobody can tell.
        sums: the file holds check sums: it is read as it was written, or not at all.
        text: words of it are exchanged, too.
    """

    name: str
    file: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    value: Any = None
    dump: Callable[[Any, Path], None] | None = None
    says: Callable[[bytes], Any] | None = None
    sums: bool = False
    text: bool = False


# -- checkpoints and pickles -----------------------------------------------------------------------


def checkpoint() -> dict:
    gen = torch.Generator().manual_seed(0)
    return {
        'meta': {'epoch': 1, 'iter': 10, 'iters_per_epoch': 10, 'seed': 3, 'saved_at': 1.5},
        'state_dict': {
            'a.weight': torch.randn(20, 30, generator=gen),
            'a.bias': torch.randn(20, generator=gen),
            'b': torch.arange(50),
        },
        'optimizer': {'state': {0: {'momentum_buffer': torch.ones(20, 30)}}, 'param_groups': [{}]},
        'message_hub': {'runtime_info': {'kept_checkpoints': ['epoch_1.pth'], 'best_score': 0.5}},
    }


def _save_legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _resumable(path: Path) -> dict:
    value = load_checkpoint_file(path)
    check_resumable(value, path)
    return value


def _torch_says(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), 'cpu', weights_only=True)


ROWS = np.arange(20, dtype=np.float32).reshape(4, 5)
LISTS = [[ROWS[i : i + 1] if c == i % 3 else ROWS[:0] for c in range(3)] for i in range(4)]


def _flat(lists: list) -> list:
    return [np.asarray(rows, np.float32).tolist() for per_class in lists for rows in per_class]


def _read_pkl(path: Path) -> list:
    found = read_pkl(path, 4, 3)
    rows = np.concatenate([found.boxes, found.score[:, None]], axis=1)
    at = found.image * 3 + found.label
    return [rows[at == i].tolist() for i in range(12)]


# -- JSON, YAML and Python -------------------------------------------------------------------------

ENTRIES = [
    {'image_id': i, 'category_id': 1 + i % 2, 'bbox': [1.0, 2.0, 3.5, 4.0], 'score': 0.5}
    for i in range(1, 5)
]
CONFIG = {
    'model': {'type': 'SELSA', 'detector': {'type': 'FasterRCNN', 'width': 64}},
    'a': [1, {'b': 'c'}, 2.5],
    'work_dir': 'x',
}
CONFIG_PY = """model = dict(type='SELSA', detector=dict(type='FasterRCNN', width=64))
a = [1, dict(b='c'), 2.5]
work_dir = 'x'
"""
BOXES = [[1, 2, 10, 12], [3.5, 4, 9, 9], [0, 0, 20, 20], [5, 5, 6, 7]]
ANNOTATIONS = {
    'videos': [{'id': 1, 'name': 'v'}],
    'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
    'images': [
        {
            'id': i, 'video_id': 1, 'frame_id': i - 1, 'file_name': f'v/{i}.jpg', 'width': 64,
            'height': 48,
        }
        for i in range(1, 5)
    ],
    'annotations': [
        {'id': i, 'image_id': i, 'category_id': 1 + i % 2, 'bbox': box, 'instance_id': 7}
        for i, box in enumerate(BOXES, 1)
    ],
}  # fmt: skip


def _dump_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value))


def _read_results_json(path: Path) -> list:
    found = read_coco_json(path, np.arange(1, 5), (1, 2))
    sides = found.boxes.astype(float)
    sides[:, 2:] -= sides[:, :2]
    rows = zip(found.image + 1, found.label + 1, sides, found.score, strict=True)
    return sorted([int(i), int(c), *_rounded([*box, score])] for i, c, box, score in rows)


def _rounded(numbers: list) -> list[float]:
    return [float(f'{np.float32(number):.4g}') for number in numbers]


def _results_say(data: bytes) -> list:
    boxes = []
    for entry in json.loads(data):
        x, y, w, h = map(float, entry['bbox'])
        corner = np.float32(x), np.float32(y), np.float32(x + w), np.float32(y + h)
        box = [corner[0], corner[1], float(corner[2]) - float(corner[0]),
               float(corner[3]) - float(corner[1])]  # fmt: skip
        numbers = _rounded([*box, entry['score']])
        boxes.append([entry['image_id'], entry['category_id'], *numbers])
    return sorted(boxes)


def _read_config(path: Path) -> dict:
    return load_config(path, work_dir='x').to_dict()


def _python_says(data: bytes) -> dict:
    names: dict = {}
    exec(compile(data, 'config', 'exec'), names)
    return {**{k: v for k, v in names.items() if not k.startswith('__')}, 'work_dir': 'x'}


def _data_says(parse: Callable) -> Callable[[bytes], dict]:
    return lambda data: {**parse(data.decode('utf-8-sig')), 'work_dir': 'x'}


def _read_index(path: Path) -> list:
    index = CocoVideoIndex.open(path)
    return [
        sorted(
            [
                int(index.image_ids[i]), index.file_name(i), int(index.ann_categories[row]),
                index.ann_boxes[row].tolist(),
            ]
            for i in range(len(index))
            for row in range(*index.annotations_of(i).indices(10**6))
        ),
        [index.image_ids[index.frames_of(v)].tolist() for v in index.videos()],
    ]  # fmt: skip


def _annotations_say(data: bytes) -> list:
    content = json.loads(data.decode('utf-8-sig'))
    images = {image['id']: image for image in content['images']}
    videos = [[image for image in content['images'] if image['video_id'] == v['id']]
              for v in content['videos']]  # fmt: skip
    return [
        sorted(
            [
                a['image_id'], images[a['image_id']]['file_name'], a['category_id'],
                [float(x) for x in a['bbox']],
            ]
            for a in content['annotations']
        ),
        [[i['id'] for i in sorted(video, key=lambda i: i['frame_id'])] for video in videos],
    ]  # fmt: skip


def _read_log(path: Path) -> list:
    log = load_training(path)
    return [log.train, log.val]


def _log_says(data: bytes) -> list:
    rows = [json.loads(line, parse_int=float) for line in _lines(data)]
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


def _frame(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), _picture())


def _picture(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 4, rows * columns], axis=2).astype(np.uint8)


def _labels(image: str, **files: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        _frame(folder / image)
        for name, text in files.items():
            path = folder / name.replace('__', '/').replace('_dot_', '.')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def _converted(kind: str, file: str = '') -> Callable[[Path], list]:
    def read(folder: Path) -> list:
        source = READERS[kind]([folder / file], LayoutOptions(folder))
        return sorted(
            [o.name, _rounded(o.bbox), o.track is None]
            for video in source.videos
            for frame in video.read()
            for o in frame.objects
        )

    return read


def _voc_says(data: bytes) -> list:
    def text(node, tag: str) -> str:
        (found,) = node.getElementsByTagName(tag)
        return ''.join(child.data for child in found.childNodes).strip()

    found = []
    for node in minidom.parseString(data).getElementsByTagName('object'):
        x1, y1, x2, y2 = (float(text(node, side)) for side in ('xmin', 'ymin', 'xmax', 'ymax'))
        box = _rounded([x1, y1, x2 - x1, y2 - y1])
        tracks = node.getElementsByTagName('track_id')
        found.append([text(node, 'name'), box, not tracks or not text(node, 'track_id')])
    return sorted(found)


def _lines(data: bytes) -> list[str]:
    text = data.decode('utf-8-sig').replace('\r\n', '\n').replace('\r', '\n')
    return [line for line in text.split('\n') if line.strip()]


def _mot_says(data: bytes) -> list:
    found = []
    for line in _lines(data):
        fields = line.replace(',', ' ').split()
        x, y, w, h = map(float, fields[2:6])
        number = int(float(fields[7])) if len(fields) > 7 else -1
        box = _rounded([x, y, w, h])
        found.append([MOT_CLASSES[max(number, 1) - 1], box, float(fields[1]) == -1])
    return sorted(found)


def _frame_list_says(data: bytes) -> list[int]:
    return sorted({int(line.split()[1]) + 1 for line in _lines(data) if not line.startswith('#')})


def _yolo_says(data: bytes) -> list:
    found = []
    for line in _lines(data):
        number, x, y, w, h, *track = map(float, line.split())
        box = [64 * (x - w / 2), 48 * (y - h / 2), 64 * w, 48 * h]
        found.append([('cat', 'dog')[int(number)], _rounded(box), track in ([], [-1])])
    return sorted(found)


def _ilsvrc_says(data: bytes) -> list:
    videos: dict = {}
    for name, _, frame, length in map(str.split, _lines(data)):
        videos.setdefault(name, (int(length), []))[1].append(int(frame) - 1)
    return [[name, *rest] for name, rest in videos.items()]


def _ilsvrc_videos(path: Path) -> list:
    return [[v.name, v.num_frames, v.key_frames] for v in read_train_videos(path)]


def _write_frame_list(folder: Path) -> None:
    _dump_json(ANNOTATIONS, folder / 'a.json')
    (folder / 'list.txt').write_text('v 0\nv 2\n')


def _read_frame_list(folder: Path) -> list[int]:
    return read_frame_list(folder / 'list.txt', CocoVideoIndex.open(folder / 'a.json')).tolist()


# -- images, videos, evaluation --------------------------------------------------------------------


def _image(ending: str, *options: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        picture = cv2.GaussianBlur(_picture(120, 160), (0, 0), 1.5)
        cv2.imwrite(str(folder / f'i{ending}'), picture, list(options))

    return write


def decoder_warnings(data: bytes) -> bytes:
    """What the JPEG library of OpenCV complains of, which it writes to the standard error."""
    kept, file = os.dup(2), os.memfd_create('stderr')
    os.dup2(file, 2)
    try:
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    os.lseek(file, 0, os.SEEK_SET)
    said = os.read(file, 10_000)
    os.close(file)
    return said


class Unknown:
    """Equal to everything: what the file holds is not to be known."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


def _jpeg_says(data: bytes) -> Any:
    return 'a warning' if b'orrupt JPEG' in decoder_warnings(data) else Unknown()


def _write_video(folder: Path) -> None:
    with av.open(str(folder / 'v.mp4'), 'w') as container:
        container.metadata['title'] = 'a title to be damaged'
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, 'yuv420p'
        for i in range(12):
            image = np.roll(_picture(96, 160), 4 * i, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode())


def _read_video(path: Path) -> list:
    """Frames and, with damage, what is noted of it: a film goes on over a damaged frame."""
    video = VideoFile(path)
    with contextlib.closing(video):
        frames = [(f.index, f.image.shape, int(f.image.astype(int).sum())) for f in video.frames()]
        if frames and video.count():
            video.read(video.count() - 1)
        return [frames, video.broken]


def _write_motion(folder: Path) -> None:
    _dump_json(ANNOTATIONS, folder / 'a.json')
    cells = np.empty((4, 1), object)
    for i in range(4):
        cells[i, 0] = np.array([[0.1 + 0.2 * i]])
    scipy.io.savemat(folder / 'm.mat', {'motion_iou': cells}, do_compression=True)


def _read_motion(folder: Path) -> list:
    return motion_from_mat(folder / 'm.mat', CocoVideoIndex.open(folder / 'a.json')).tolist()


def _write_spill(folder: Path) -> None:
    ones = np.ones(4, np.int64)
    write_spill(RankDetections(np.arange(4), ones, ones.astype(np.int16), ROWS), folder, 0)


def _read_spill(folder: Path) -> list:
    truth = SimpleNamespace(image_ids=np.arange(4), classes=('cat', 'dog'))
    found = load_spills(folder / 'detections', truth)
    return [part.tolist() for part in (found.image, found.label, found.boxes, found.score)]


def _write_scored(folder: Path) -> None:
    _dump_json(ANNOTATIONS, folder / 'a.json')
    _dump_json(ENTRIES, folder / 'r.json')


def _scores(folder: Path) -> bool:
    """Whether all metrics are in 0..1 or undefined."""
    found = evaluate_results(folder / 'r.json', folder / 'a.json')
    return all(value is None or 0 <= value <= 1 for value in found.values())


def kinds() -> list[Kind]:
    def on(file: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        return lambda folder: read(folder / file)

    def one(name: str, file: str, value: Any, dump: Callable, read: Callable, **more) -> Kind:
        def write(folder: Path) -> None:
            dump(value, folder / file)

        return Kind(name, file, write, on(file, read), value, dump, **more)

    def text(file: str, content: str) -> Callable[[Path], None]:
        return lambda folder: (folder / file).write_text(content) and None

    return [
        one('checkpoint (zip)', 'c.pth', checkpoint(), save_checkpoint, _resumable, sums=True),
        one('checkpoint (old)', 'c.pth', checkpoint(), _save_legacy, _resumable, says=_torch_says),
        one(
            'results .pkl', 'r.pkl', LISTS, lambda v, p: p.write_bytes(pickle.dumps(v, 2)),
            _read_pkl, says=lambda data: _flat(pickle.loads(data)),
        ),
        one(
            'results .json', 'r.json', ENTRIES, _dump_json, _read_results_json,
            says=_results_say, text=True,
        ),
        one(
            'config .json', 'c.json', CONFIG, _dump_json, _read_config,
            says=_data_says(json.loads), text=True,
        ),
        one(
            'config .yaml', 'c.yaml', CONFIG, lambda v, p: p.write_text(yaml.safe_dump(v)),
            _read_config, says=_data_says(yaml.safe_load), text=True,
        ),
        Kind(
            'config .py', 'c.py', text('c.py', CONFIG_PY), on('c.py', _read_config),
            says=_python_says, text=True,
        ),
        one(
            'annotations .json', 'a.json', ANNOTATIONS, _dump_json, _read_index,
            says=_annotations_say, text=True,
        ),
        one(
            'training log', 'l.json', {'loss': 1.5, 'step': 3}, _dump_json, _read_log,
            says=_log_says, text=True,
        ),
        Kind(
            'VOC .xml', 'v/0.xml', _labels('v/0.png', v__0_dot_xml=VOC), _converted('voc'),
            says=_voc_says, text=True,
        ),
        Kind(
            'CVAT .xml', 'c.xml', _labels('c/0.png', c_dot_xml=CVAT), _converted('cvat', 'c.xml'),
            text=True,
        ),
        one(
            'COCO .json', 'a.json', ANNOTATIONS, _dump_json,
            lambda path: _converted('coco', 'a.json')(path.parent), text=True,
        ),
        Kind(
            'MOT gt.txt', 's/gt/gt.txt', _labels('s/img1/1.png', s__gt__gt_dot_txt=MOT),
            _converted('mot', 's'), says=_mot_says, text=True,
        ),
        Kind(
            'MOT seqinfo.ini', 's/seqinfo.ini',
            _labels('s/img1/1.png', s__gt__gt_dot_txt=MOT, s__seqinfo_dot_ini=SEQINFO),
            _converted('mot', 's'), text=True,
        ),
        Kind(
            'YOLO label', 'labels/v/1.txt',
            _labels('images/v/1.png', labels__v__1_dot_txt=YOLO, classes_dot_txt='cat\ndog\n'),
            _converted('yolo'), says=_yolo_says, text=True,
        ),
        Kind(
            'YOLO data.yaml', 'data.yaml',
            _labels('images/v/1.png', labels__v__1_dot_txt=YOLO,
                    data_dot_yaml='nc: 2\nnames: [cat, dog]\n'),
            _converted('yolo'), text=True,
        ),
        Kind(
            'ILSVRC list', 'l.txt', text('l.txt', 'a/b 1 1 20\na/b 1 11 20\na/c 1 1 5\n'),
            on('l.txt', _ilsvrc_videos), says=_ilsvrc_says, text=True,
        ),
        Kind(
            'frame list', 'list.txt', _write_frame_list, _read_frame_list,
            says=_frame_list_says, text=True,
        ),
        Kind('image .jpg', 'i.jpg', _image('.jpg'), on('i.jpg', _pixels), says=_jpeg_says),
        Kind(
            'image .jpg (progressive)', 'i.jpg',
            _image('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 5),
            on('i.jpg', _pixels), says=_jpeg_says,
        ),
        Kind('image .png', 'i.png', _image('.png'), on('i.png', _pixels), sums=True),
        Kind('image .webp', 'i.webp', _image('.webp'), on('i.webp', _pixels)),
        Kind('image .tif', 'i.tif', _image('.tif'), on('i.tif', _pixels)),
        Kind('image .bmp', 'i.bmp', _image('.bmp'), on('i.bmp', _pixels)),
        Kind('video .mp4', 'v.mp4', _write_video, on('v.mp4', _read_video)),
        Kind('motion .mat', 'm.mat', _write_motion, _read_motion, sums=False),
        Kind('spilled detections', 'detections/rank_0.npz', _write_spill, _read_spill, sums=True),
        Kind(
            'evaluation: results', 'r.json', _write_scored, _scores, says=lambda _: True, text=True,
            value=ENTRIES, dump=_dump_json,
        ),
        Kind(
            'evaluation: annotations', 'a.json', _write_scored, _scores, says=lambda _: True,
            text=True, value=ANNOTATIONS, dump=_dump_json,
        ),
    ]  # fmt: skip


def _pixels(path: Path) -> np.ndarray:
    return read_image(str(path))
