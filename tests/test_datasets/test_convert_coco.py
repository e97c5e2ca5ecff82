"""Plain COCO, with and without videos, to CocoVID: by hand, dialects, bad inputs."""

import pytest
from own_data import (
    GOOD_BOX,
    GOOD_IMAGE,
    annotation,
    boxes,
    coco,
    convert,
    frames,
    image,
    write,
    write_frames,
    write_video,
)

from mmdet.core.errors import ConversionError


def test_coco_without_videos(tmp_path):
    images = [image(5, 'b/2.jpg'), image(6, 'a/10.jpg'), image(8, 'a/9.jpg')]
    objects = [
        annotation(1, 6, [1, 2, 3.25, 4], attributes={'track_id': 4}),
        annotation(2, 8, [1, 2, 10, 10], track_id='x', category_id=3),
        annotation(3, 8, [1, 2, 20, 20], iscrowd=1, occluded=True),
        annotation(4, 5, [1, 2, 20, 20], ignore=True),
    ]
    write(tmp_path, {'ann.json': coco(images, objects)})
    content = convert('coco', tmp_path / 'ann.json', tmp_path / 'out.json')
    assert frames(content) == [('a', 0, 'a/9.jpg'), ('a', 1, 'a/10.jpg'), ('b', 0, 'b/2.jpg')]
    assert boxes(content) == [
        ('a', 0, 'cat', 1, [1, 2, 10, 10]),
        ('a', 0, 'dog', None, [1, 2, 20, 20]),
        ('a', 1, 'dog', 2, [1, 2, 3.25, 4]),
    ]
    flags = [(a['iscrowd'], a['occluded']) for a in content['annotations']]
    assert flags == [(False, False), (True, True), (False, False)]


def test_coco_with_video_ids_only(tmp_path):
    images = [
        image(1, 'x/a.jpg', video_id=7, frame_id=3),
        image(2, 'x/b.jpg', video_id=7, frame_id=1),
        image(3, 'p/c.jpg', video_id=2, frame_index=5),
        image(4, 'q/d.jpg', video_id=2, frame_index=4),
    ]
    write(tmp_path, {'ann.json': coco(images, [annotation(1, 1, [0, 0, 5, 5], instance_id=0)])})
    content = convert('coco', tmp_path / 'ann.json', tmp_path / 'out.json')
    assert frames(content) == [
        ('x', 0, 'x/b.jpg'),
        ('x', 1, 'x/a.jpg'),
        ('video_2', 0, 'q/d.jpg'),
        ('video_2', 1, 'p/c.jpg'),
    ]
    assert boxes(content) == [('x', 1, 'dog', 1, [0, 0, 5, 5])]


def test_coco_that_is_cocovid_keeps_its_key_frames(tmp_path):
    flags = [True, False, True, False, False]
    images = [
        image(i, f'v/{i}.jpg', video_id=1, frame_id=i, is_vid_train_frame=flag)
        for i, flag in enumerate(flags)
    ]
    videos = [{'id': 1, 'name': 'night'}]
    text = coco(images, [annotation(1, 0, [0, 0, 5, 5])], videos=videos)
    write(tmp_path, {'ann.json': text})
    out = tmp_path / 'out.json'
    content = convert('coco', tmp_path / 'ann.json', out)
    assert content['videos'] == [{'id': 1, 'name': 'night', 'vid_train_frames': [0, 2]}]
    content = convert('coco', tmp_path / 'ann.json', out, every=3)
    assert content['videos'][0]['vid_train_frames'] == [0, 3]
    assert [i['is_vid_train_frame'] for i in content['images']] == [True, False, False, True, False]


def test_coco_of_a_video_file(tmp_path):
    """As CVAT exports a task on a video: names of frames that are nowhere but in the video."""
    write_video(tmp_path / 'ann.mp4', 3)
    images = [image(i, f'frame_{i:06d}.PNG') for i in (0, 2)]
    write(tmp_path, {'ann.json': coco(images, [annotation(1, 2, [0, 0, 5, 5])])})
    content = convert('coco', tmp_path / 'ann.json', tmp_path / 'out.json')
    assert frames(content) == [('ann', 0, 'ann/000000.jpg'), ('ann', 1, 'ann/000002.jpg')]


def test_coco_sizes_from_the_files(tmp_path):
    write_frames(tmp_path / 'v', 1)
    text = coco([{'id': 1, 'file_name': 'v/000000.jpg'}], [annotation(1, 1, [0, 0, 5, 5])])
    write(tmp_path, {'ann.json': text})
    content = convert('coco', tmp_path / 'ann.json', tmp_path / 'out.json')
    assert (content['images'][0]['width'], content['images'][0]['height']) == (64, 48)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"images": [', r'ann\.json cannot be read as JSON'),
        ('[1]', 'it has no list `images`'),
        ('{"images": [], "annotations": {}}', 'it has no list `annotations`'),
        (coco([{'id': 1}], []), r'images\[0\], id 1: has no `file_name`'),
        (coco(GOOD_IMAGE * 2, []), 'two images have the id 1'),
        (coco(GOOD_IMAGE, [annotation(4, 1, [0, 5])]), r'id 4: `bbox` must be four finite numbers'),
        (coco(GOOD_IMAGE, [annotation(4, 2, [0, 0, 1, 1])]), 'annotation id 4 .*image_id 2 is not'),
        (coco(GOOD_IMAGE, GOOD_BOX, categories=[]), 'annotation id 1 .*category_id 9 is not'),
        (coco(GOOD_IMAGE, [{'id': 1, 'bboxes': [None]}]), 'YouTube-VIS'),
        (
            coco([image(i, f'v/{i}.jpg', video_id=1, frame_id=2) for i in (1, 2)], []),
            "two images of video 'v' have frame_id 2",
        ),
        (
            coco([image(1, 'a.jpg', video_id=1)], [], videos=[{'id': 4, 'name': 'v'}]),
            'image id 1 has the video_id 1, which is not in `videos`',
        ),
        (coco([{'id': 1, 'file_name': 'v/0.jpg'}], GOOD_BOX), 'image id 1 has no width and height'),
        (coco([image(1, 'v/0.jpg', width=0)], []), '`width` must be a positive integer'),
        (coco(GOOD_IMAGE, []), 'None of the 1 frames has a labelled object'),
    ],
)
def test_coco_bad_files(tmp_path, text, message):
    write(tmp_path, {'ann.json': text})
    with pytest.raises(ConversionError, match=message):
        convert('coco', tmp_path / 'ann.json', tmp_path / 'out.json')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ann.json']
