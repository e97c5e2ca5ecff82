"""Small datasets in foreign formats, written by the tests, and readable views of CocoVID files."""

import json
from pathlib import Path

import av
import cv2
from tiny_cocovid import picture

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


def write_frames(folder: Path, count: int, first: int = 0) -> Path:
    return write_images(folder, [f'{i:06d}.jpg' for i in range(first, first + count)])


def write_video(path: Path, count: int, fps: int = 10, darkest: int = 20) -> Path:
    """Frame i is a grey of `darkest` + 10 i, with a white corner at the top left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('mpeg4', rate=fps)
        stream.width, stream.height, stream.pix_fmt = *SIZE, 'yuv420p'
        for i in range(count):
            image = picture(0, *SIZE)
            image[:] = (darkest + 10 * i) % 256
            image[:16, :16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode())
    return path


def yolo_set(root: Path) -> Path:
    """Faultless: two videos, images and labels in parallel folders, track ids, a frame without
    label file: 3 + 1 frames, 4 boxes."""
    write_images(root / 'images/cam1', ['f_10.jpg', 'f_2.jpg', 'f_1.jpg'])
    write_images(root / 'images/sub/cam2', ['1.png'], size=(32, 40))
    files = {
        'data.yaml': 'path: .\ntrain: images\nnc: 2\nnames: [cat, dog]\n',
        'labels/cam1/f_1.txt': '1 0.5 0.5 0.25 0.5 7\n0 0.25 0.25 0.5 0.5 8\n',
        'labels/cam1/f_2.txt': '\n1 0.5 0.5 0.5 0.5 7\n',
        'labels/sub/cam2/1.txt': '1 0.5 0.5 0.5 0.25 7\n',
    }
    return write(root, files)


def coco(images, annotations, **lists) -> str:
    defaults = {'categories': [{'id': 3, 'name': 'cat'}, {'id': 9, 'name': 'dog'}]}
    return json.dumps({'images': images, 'annotations': annotations} | defaults | lists)


def image(number, name, **fields):
    return {'id': number, 'file_name': name, 'width': 64, 'height': 48} | fields


def annotation(number, image_id, box, **fields):
    return {'id': number, 'image_id': image_id, 'category_id': 9, 'bbox': box} | fields


GOOD_IMAGE, GOOD_BOX = [image(1, 'v/0.jpg')], [annotation(1, 1, [0, 0, 5, 5])]


def one_video(length: int, annotations) -> str:
    """COCO of the frames 0, 1, ... with these ids of the video `v`."""
    images = [image(i, f'v/{i:06d}.jpg', video_id=1, frame_id=i) for i in range(length)]
    return coco(images, annotations, videos=[{'id': 1, 'name': 'v'}])


def boxes(content: dict) -> list[tuple]:
    """(video, frame, class, instance, bbox) of every annotation."""
    places = dict(zip((i['id'] for i in content['images']), frames(content), strict=True))
    classes = {category['id']: category['name'] for category in content['categories']}
    return [
        (*places[a['image_id']][:2], classes[a['category_id']], a.get('instance_id'), a['bbox'])
        for a in content['annotations']
    ]


def frames(content: dict) -> list[tuple]:
    """(video, frame, file name) of every image."""
    videos = {video['id']: video['name'] for video in content['videos']}
    return [(videos[i['video_id']], i['frame_id'], i['file_name']) for i in content['images']]


def names(content: dict) -> list[str]:
    return [category['name'] for category in content['categories']]


def changed(ann_file: Path, change) -> None:
    content = json.loads(ann_file.read_text())
    change(content)
    ann_file.write_text(json.dumps(content))
