"""A small CocoVID file, and a literal walk over its dicts to compare an index with."""

import json
from pathlib import Path

import numpy as np

from mmdet.datasets.parsers import CocoVideoIndex


def make_dataset(lengths=(4, 1, 3), seed=0) -> dict:
    """A CocoVID file whose lists are shuffled, with gaps in the ids and frames without boxes."""
    rng = np.random.default_rng(seed)
    videos = [{'id': 7 * v + 3, 'name': f'val/video_{v}'} for v in range(len(lengths))]
    places = [
        (video, frame) for video, n in zip(videos, lengths, strict=True) for frame in range(n)
    ]
    images, annotations = [], []
    for i, (video, frame) in enumerate(places):
        image = dict(id=1000 - 3 * i, file_name=f'{video["name"]}/{frame:06d}.JPEG', height=720)
        image |= dict(width=1280 + frame, frame_id=frame, video_id=video['id'])
        images.append(image | dict(is_vid_train_frame=bool(frame % 2)))
        for _ in range(rng.integers(3)):
            box = rng.uniform(0, 500, 4).tolist()
            entry = dict(id=5000 - len(annotations), image_id=image['id'], video_id=video['id'])
            entry |= dict(category_id=int(rng.integers(2)) * 10 + 5, bbox=box, area=box[2] * box[3])
            entry |= dict(instance_id=int(rng.integers(4)), iscrowd=bool(rng.integers(2)))
            annotations.append(entry | dict(ignore=bool(rng.integers(2))))
    rng.shuffle(images)
    rng.shuffle(annotations)
    categories = [{'id': 5, 'name': 'cat', 'encode_name': 'n1'}, {'id': 15, 'name': 'dog'}]
    return dict(categories=categories, videos=videos, images=images, annotations=annotations)


def ordered(lengths=(4, 1, 3)) -> dict:
    """Ids from 1 in the order of the videos, annotations grouped by image."""
    dataset = make_dataset(lengths, seed=1)
    dataset['images'].sort(key=lambda image: -image['id'])
    new_id = {image['id']: i for i, image in enumerate(dataset['images'], 1)}
    for image in dataset['images']:
        image['id'] = new_id[image['id']]
    dataset['annotations'].sort(key=lambda annotation: new_id[annotation['image_id']])
    for i, annotation in enumerate(dataset['annotations'], 1):
        annotation |= {'id': i, 'image_id': new_id[annotation['image_id']]}
    return dataset


def write(folder: Path, dataset: dict, **options) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / 'ann.json'
    path.write_text(json.dumps(dataset, **options), encoding='utf-8')
    return path


def check_against(index: CocoVideoIndex, dataset: dict) -> None:
    """Every field against a literal walk over the dicts."""
    images, annotations = dataset['images'], dataset['annotations']
    videos = dataset.get('videos', [])
    assert len(index) == len(images)
    assert len(index.ann_ids) == len(annotations)
    assert index.categories == dataset['categories']
    assert index.video_ids.tolist() == [video['id'] for video in videos]
    for i, image in enumerate(images):
        assert index.image_ids[i] == image['id']
        assert index.position_of(image['id']) == i
        assert index.file_name(i) == image['file_name']
        assert (index.image_heights[i], index.image_widths[i]) == (image['height'], image['width'])
        assert index.image_frame_ids[i] == image.get('frame_id', -1)
        assert index.image_is_train_frame[i] == image.get('is_vid_train_frame', True)
        owner = index.image_video[i]
        assert (owner == -1) if not videos else index.video_ids[owner] == image['video_id']
        own = [a for a in annotations if a['image_id'] == image['id']]
        expected = {
            'ids': [a['id'] for a in own],
            'boxes': [[float(x) for x in a['bbox']] for a in own],
            'areas': [a.get('area', a['bbox'][2] * a['bbox'][3]) for a in own],
            'categories': [a['category_id'] for a in own],
            'instance_ids': [a.get('instance_id', -1) for a in own],
            'iscrowd': [bool(a.get('iscrowd', 0)) for a in own],
            'ignore': [bool(a.get('ignore', 0)) for a in own],
        }
        for name, values in expected.items():
            assert getattr(index, f'ann_{name}')[index.annotations_of(i)].tolist() == values
    for v, video in enumerate(videos):
        frames = [image for image in images if image['video_id'] == video['id']]
        frames.sort(key=lambda image: image['frame_id'])
        assert index.video_name(v) == video['name']
        assert index.image_ids[index.frames_of(v)].tolist() == [image['id'] for image in frames]
