"""Small datasets in foreign formats, written by the tests, and readable views of CocoVID files."""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import av
import cv2
from mmengine.logging import MMLogger
from tiny_cocovid import picture

from mmdet.programs.check import CheckOptions, check_dataset
from mmdet.programs.convert import ConvertOptions, to_cocovid

SIZE = (64, 48)  # width, height


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def write_images(folder: Path, names: list[str], size=SIZE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), picture(i, *size))
    return folder


def write_frames(folder: Path, count: int, first: int = 0, size=SIZE) -> Path:
    return write_images(folder, [f'{i:06d}.jpg' for i in range(first, first + count)], size)


def write_video(path: Path, count: int, size=SIZE, fps: int = 10, darkest: int = 20) -> Path:
    """Frame i is a grey of `darkest` + 10 i, with a white corner at the top left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('mpeg4', rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, 'yuv420p'
        for i in range(count):
            image = picture(0, *size)
            image[:] = (darkest + 10 * i) % 256
            image[:16, :16] = 255
            frame = av.VideoFrame.from_ndarray(image, format='bgr24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def yolo_set(root: Path) -> Path:
    """Two videos: images and labels in parallel folders, track ids, a frame without label file."""
    write_images(root / 'images/cam1', ['f_10.jpg', 'f_2.jpg', 'f_1.jpg'])
    write_images(root / 'images/sub/cam2', ['1.png'], size=(32, 40))
    return write(
        root,
        {
            'data.yaml': 'path: .\ntrain: images\nnc: 2\nnames: [cat, dog]\n',
            'labels/cam1/f_1.txt': '1 0.5 0.5 0.25 0.5 7\n0 0.25 0.25 0.5 0.5 8\n',
            'labels/cam1/f_2.txt': '\n1 0.5 0.5 0.5 0.5 7\n',
            'labels/sub/cam2/1.txt': '1 0.5 0.5 0.5 0.25 7\n',
        },
    )


def coco(images, annotations, **lists) -> str:
    defaults = {'categories': [{'id': 3, 'name': 'cat'}, {'id': 9, 'name': 'dog'}]}
    return json.dumps({'images': images, 'annotations': annotations} | defaults | lists)


def image(number, name, **fields):
    return {'id': number, 'file_name': name, 'width': 64, 'height': 48} | fields


def annotation(number, image_id, box, **fields):
    return {'id': number, 'image_id': image_id, 'category_id': 9, 'bbox': box} | fields


GOOD_IMAGE, GOOD_BOX = [image(1, 'v/0.jpg')], [annotation(1, 1, [0, 0, 5, 5])]


def convert(kind: str, inputs, out: Path, **options) -> dict:
    """The JSON of a conversion to one file."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    (path,) = to_cocovid(kind, inputs, out, ConvertOptions(**options))
    return json.loads(path.read_text())


def boxes(content: dict) -> list[tuple]:
    """(video, frame, class, instance, bbox) of every annotation."""
    videos = {video['id']: video['name'] for video in content['videos']}
    images = {image['id']: image for image in content['images']}
    classes = {category['id']: category['name'] for category in content['categories']}
    return [
        (
            videos[images[a['image_id']]['video_id']],
            images[a['image_id']]['frame_id'],
            classes[a['category_id']],
            a.get('instance_id'),
            a['bbox'],
        )
        for a in content['annotations']
    ]


def frames(content: dict) -> list[tuple]:
    """(video, frame, file name) of every image."""
    videos = {video['id']: video['name'] for video in content['videos']}
    return [(videos[i['video_id']], i['frame_id'], i['file_name']) for i in content['images']]


def names(content: dict) -> list[str]:
    return [category['name'] for category in content['categories']]


def faultless_set(folder: Path) -> tuple[Path, Path]:
    """A faultless dataset with images: 3 + 1 frames, 4 boxes; (annotation file, image root)."""
    root = yolo_set(folder / 'yolo')
    convert('yolo', root, folder / 'ann.json')
    return folder / 'ann.json', root


def check(ann_file, img_root, **options):
    return check_dataset(ann_file, CheckOptions(img_root=img_root, **options))


def faults(report) -> list[str]:
    return [str(fault) for fault in report.log.kept]


def changed(ann_file, change):
    content = json.loads(ann_file.read_text())
    change(content)
    ann_file.write_text(json.dumps(content))
    return content


class Done(NamedTuple):
    """How a command ended, as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


def run_tool(path: Path, *arguments) -> Done:
    """A command of tools/ in this process: importing torch once is enough."""
    argv, sys.argv = sys.argv, [str(path), *map(str, arguments)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    log = MMLogger.get_current_instance().handlers[0]  # may hold the stream of another test
    stream, log.stream = log.stream, out
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(str(path), run_name='__main__')
    except SystemExit as end:
        if isinstance(end.code, str):
            err.write(f'{end.code}\n')
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = argv
        log.stream = stream
    return Done(code, out.getvalue(), err.getvalue())
