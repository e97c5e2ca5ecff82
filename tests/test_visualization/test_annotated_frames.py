"""Frames of a small annotation file with results drawn on them."""

import json
import pickle

import cv2
import numpy as np
import pytest

from mmdet.programs.analyse.annotated_frames import AnnotatedFrames
from mmdet.visualization import class_color

LENGTHS = (3, 5)
SIZE = (64, 100)  # height, width


def annotation_file(folder):
    """Two videos; image ids descend over the file, so that position and row differ."""
    images, annotations, number = [], [], sum(LENGTHS)
    for video, length in enumerate(LENGTHS, 1):
        for frame in range(length):
            name = f'val/v{video}/{frame:06d}.png'
            path = folder / 'frames' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((*SIZE, 3), 10 * number, np.uint8))
            size = dict(height=SIZE[0], width=SIZE[1])
            images.append(dict(id=number, file_name=name, frame_id=frame, video_id=video, **size))
            box = dict(bbox=[10, 10, 20, 30], area=600, iscrowd=False, instance_id=video)
            annotations.append(dict(id=number, image_id=number, category_id=2, **box))
            annotations[-1]['video_id'] = video
            number -= 1
    path = folder / 'ann.json'
    videos = [dict(id=i, name=f'val/v{i}') for i in (1, 2)]
    categories = [dict(id=i, name=n) for i, n in ((1, 'bear'), (2, 'fox'))]
    lists = dict(videos=videos, images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(lists))
    return path


@pytest.fixture
def frames(tmp_path):
    """The image with id i has one bear of score 0.1 * i at x = 40 + i."""
    results = []
    for i in range(1, sum(LENGTHS) + 1):
        bear = np.array([[40 + i, 20, 70 + i, 50, 0.1 * i]], np.float32)
        results.append([bear, np.zeros((0, 5), np.float32)])
    (tmp_path / 'r.pkl').write_bytes(pickle.dumps(results))
    return AnnotatedFrames(annotation_file(tmp_path), tmp_path / 'frames', tmp_path / 'r.pkl')


def test_detections_belong_to_their_image(frames):
    assert frames.classes == ('bear', 'fox')
    for image, image_id in enumerate(range(8, 0, -1)):
        found = frames.detections(image)
        assert found.image_id == image_id
        if image_id < 5:
            assert len(found) == 0  # below the threshold of 0.5
        else:
            assert found.boxes.tolist() == [[40 + image_id, 20, 70 + image_id, 50]]
            assert found.labels.tolist() == [0]


def test_a_small_frame_is_enlarged_with_its_boxes(frames):
    picture = frames.draw(0)  # image id 8
    factor = 8  # to a short side of at least 480
    assert picture.shape == (SIZE[0] * factor, SIZE[1] * factor, 3)
    assert tuple(picture[35 * factor, 78 * factor]) == class_color(0)  # right edge of the bear
    assert (picture[25 * factor, 20 * factor] == 80).all()  # the frame itself
    white = (picture[10 * factor : 40 * factor, 30 * factor] == 255).all(axis=1)  # the fox, dashed
    assert 0.3 < white.mean() < 0.8
    frames.show_ground_truth = False
    assert not (frames.draw(0)[:, 30 * factor] == 255).all(axis=1).any()


def test_videos_and_spread_frames(frames):
    assert frames.busiest_video() == 1
    pictures = list(frames.video(1))
    assert [int(p[5, 5, 0]) for p in pictures] == [50, 40, 30, 20, 10]
    assert frames.spread(2) == [2, 5]  # one of each video
    assert frames.spread(100) == list(range(8))
    assert frames.caption(4) == 'v2/000001'


def test_a_missing_frame_is_named(frames, tmp_path):
    (tmp_path / 'frames' / 'val' / 'v1' / '000001.png').unlink()
    with pytest.raises(OSError, match=r'v1/000001\.png is missing or cannot be decoded'):
        frames.draw(1)
