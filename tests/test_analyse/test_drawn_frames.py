"""Frames of a small annotation file with results drawn on them."""

import json

import cv2
import numpy as np
import pytest

from mmdet.evaluation.evaluate import ScoredSet
from mmdet.programs.analyse.drawn_frames import DrawnFrames
from mmdet.visualization import class_color

SIZE = (64, 100)  # height, width
FACTOR = 8  # to a short side of at least 480


@pytest.fixture
def frames(tmp_path):
    """Videos of 3 and 5 frames; image ids descend from 8, so that position and row differ."""
    images, annotations = [], []
    places = [(1, frame) for frame in range(3)] + [(2, frame) for frame in range(5)]
    for number, (video, frame) in zip(range(8, 0, -1), places, strict=True):
        name = f'val/v{video}/{frame:06d}.png'
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((*SIZE, 3), 10 * number, np.uint8))
        place = dict(frame_id=frame, video_id=video, height=SIZE[0], width=SIZE[1])
        images.append(dict(id=number, file_name=name, **place))
        box = dict(bbox=[10, 10, 20, 30], area=600, iscrowd=False, instance_id=video)
        annotations.append(dict(id=number, image_id=number, category_id=2, video_id=video, **box))
    lists = dict(images=images, annotations=annotations)
    lists['videos'] = [dict(id=i, name=f'val/v{i}') for i in (1, 2)]
    lists['categories'] = [dict(id=1, name='bear'), dict(id=2, name='fox')]
    (tmp_path / 'ann.json').write_text(json.dumps(lists))
    scored = ScoredSet.open(tmp_path / 'ann.json', with_motion=False)
    return DrawnFrames(scored, tmp_path, 0.5)


@pytest.fixture
def found(frames):
    """The image with id i has one bear of score 0.1 * i at x = 40 + i."""
    nothing = np.zeros((0, 5), np.float32)
    boxes = (np.array([[40 + i, 20, 70 + i, 50, 0.1 * i]], np.float32) for i in range(1, 9))
    return frames.scored.read([[bear, nothing] for bear in boxes])


def test_a_small_frame_is_enlarged_with_its_boxes(frames, found):
    picture = frames.draw(found, 7)  # image id 8
    assert picture.shape == (SIZE[0] * FACTOR, SIZE[1] * FACTOR, 3)
    assert tuple(picture[35 * FACTOR, 78 * FACTOR]) == class_color(0)  # right edge of the bear
    assert (picture[25 * FACTOR, 20 * FACTOR] == 80).all()  # the frame itself
    white = (picture[10 * FACTOR : 40 * FACTOR, 30 * FACTOR] == 255).all(axis=1)  # the fox, dashed
    assert 0.3 < white.mean() < 0.8
    below = frames.draw(found, 3)  # its bear is below the threshold
    assert not (below == class_color(0)).all(axis=2).any()


def test_videos_and_spread_frames(frames, found):
    assert frames.busiest_video() == 1
    pictures = list(frames.video(found, 1))
    assert [int(p[5, 5, 0]) for p in pictures] == [50, 40, 30, 20, 10]
    assert [frames.caption(i) for i in frames.spread(2)] == ['v1/000002', 'v2/000002']
    assert sorted(frames.spread(100)) == list(range(8))


def test_a_missing_frame_is_named(frames, found, tmp_path):
    (tmp_path / 'val/v1/000001.png').unlink()
    with pytest.raises(OSError, match=r'v1/000001\.png is missing or cannot be decoded'):
        frames.draw(found, 6)
