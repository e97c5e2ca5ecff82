"""A small CocoVID dataset with the awkward cases, written to a folder.

Videos of 40, 1 and 5 frames; 30 categories, two of them used; ids 1..46; one size per video.
Special frames (0-based): video 1 frame 3 has no object; the object of video 1 is away in frames
10..12; frame 5 has a box of width 0, frame 6 one outside of the image, frame 7 a crowd, frame 8 an
ignored one, frame 9 a box that reaches over the border, frame 13 one thinner than a pixel, frame 14
one with area 0.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES

LENGTHS = (40, 1, 5)
SIZES = ((64, 48), (40, 56), (96, 40))  # (width, height)
TRAIN_FRAMES = {1: (0, 3, 5, 9, 20, 39), 2: (0,), 3: (2, 4)}  # by video id
LABELS = (26, 4)  # turtle, bird

LOAD = dict(type='LoadFrames')
ANNOTATIONS = dict(type='LoadAnnotations')
PACK = dict(type='PackClip')
BILATERAL = dict(num_ref_imgs=2, frame_range=9, method='bilateral_uniform')
COPIES = dict(num_ref_imgs=2, frame_range=0, filter_key_img=False, method='bilateral_uniform')


def write_video_set(folder: Path, test: bool) -> dict:
    """`ann.json` and `frames/`; returns dataset arguments."""
    videos, images, annotations = [], [], []
    for video_id, (length, (width, height)) in enumerate(zip(LENGTHS, SIZES, strict=True), start=1):
        name = f'tiny/video_{video_id}'
        videos.append(dict(id=video_id, name=name))
        for frame in range(length):
            image = dict(id=len(images) + 1, file_name=f'{name}/{frame:06d}.JPEG')
            image |= dict(width=width, height=height, frame_id=frame, video_id=video_id)
            flag = not test and frame in TRAIN_FRAMES[video_id]
            images.append(image | dict(is_vid_train_frame=flag))
            for entry in _objects(video_id, frame, width):
                fields = dict(id=len(annotations) + 1, image_id=image['id'], video_id=video_id)
                area = entry['bbox'][2] * entry['bbox'][3]
                annotations.append(dict(area=area) | fields | entry)
    return _write(folder, dict(videos=videos, images=images, annotations=annotations))


def write_image_set(folder: Path, number: int = 6) -> dict:
    """Like the DET part: no videos, wide, high and square images in turn, the last one not for
    training, one of a foreign class.
    """
    images, annotations = [], []
    for i in range(number):
        width, height = ((60, 50), (50, 60), (55, 55))[i % 3]
        image = dict(id=i + 1, file_name=f'{i}.JPEG', width=width, height=height)
        images.append(image | dict(is_vid_train_frame=i < number - 1))
        for k in range(2):
            category = 31 if i == 1 else 1 + LABELS[k]
            fields = dict(id=len(annotations) + 1, image_id=i + 1, category_id=category)
            annotations.append(fields | dict(bbox=[2 + 5 * k, 3, 20, 30], area=600, iscrowd=False))
    other = [dict(id=31, name='other_categeries', encode_name=None)]
    return _write(folder, dict(images=images, annotations=annotations), other)


def on_tiny_sets(dataset_config: Path, folder: Path) -> Config:
    """A config of configs/_base_/datasets whose loaders read the sets above, without workers."""
    cfg = Config.fromfile(dataset_config)
    videos, images = cfg.train_dataloader.dataset.datasets
    videos.update(write_video_set(folder / 'train', test=False))
    images.update(write_image_set(folder / 'images'))
    cfg.val_dataloader.dataset.update(write_video_set(folder / 'val', test=True))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    init_default_scope('mmdet')  # as every command does
    return cfg


def _objects(video_id: int, frame: int, width: int) -> list[dict]:
    category = 1 + LABELS[video_id % 2]
    plain = dict(category_id=category, instance_id=video_id, bbox=[4 + frame / 2, 6, 20, 16])
    odd = {
        5: plain | dict(bbox=[8, 8, 0, 9]),
        6: plain | dict(bbox=[width + 1, 4, 9, 9]),
        7: plain | dict(bbox=[1, 2, 30, 20], iscrowd=True),
        8: plain | dict(bbox=[1, 2, 30, 20], ignore=True),
        9: plain | dict(bbox=[-7, 4, 20, 60], instance_id=50),
        13: plain | dict(bbox=[1, 2, 0.9, 20]),
        14: plain | dict(bbox=[1, 2, 30, 20], area=0),
    }
    if video_id == 1 and (frame == 3 or 10 <= frame <= 12):
        return []
    return [plain, odd[frame]] if video_id == 1 and frame in odd else [plain]


def _write(folder: Path, lists: dict, more_categories: list[dict] | None = None) -> dict:
    names = enumerate(IMAGENET_VID_CLASSES, start=1)
    categories = [dict(id=i, name=name) for i, name in names] + (more_categories or [])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'ann.json').write_text(json.dumps(lists | dict(categories=categories)))
    for image in lists['images']:
        path = folder / 'frames' / image['file_name']
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(image['id'], image['width'], image['height']))
    return dict(ann_file=str(folder / 'ann.json'), img_prefix=str(folder / 'frames'))


def picture(seed: int, width: int, height: int) -> np.ndarray:
    """A smooth random picture, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
