"""Plain COCO, with and without videos, to CocoVID: by hand, dialects, bad inputs."""

import pytest
from own_data import (
    GOOD_BOX,
    GOOD_IMAGE,
    annotation,
    boxes,
    coco,
    frames,
    image,
    names,
    write,
    write_images,
    write_video,
)
from PIL import Image
from PIL.ExifTags import Base

from mmdet.datasets.parsers import CocoVideoIndex


@pytest.fixture
def from_coco(tmp_path, convert):
    """Converts JSON text."""

    def converted(text: str, **options) -> dict:
        write(tmp_path, {'ann.json': text})
        return convert('coco', tmp_path / 'ann.json', **options)

    return converted


def test_without_videos(from_coco):
    images = [image(5, 'b/2.jpg'), image(6, 'a/10.jpg'), image(8, 'a/9.jpg')]
    objects = [
        annotation(1, 6, [1, 2, 3.25, 4], attributes={'track_id': 4}, area=9.5),  # of a mask
        annotation(2, 8, [1, 2, 10, 10], track_id='x', category_id=3, area=0),
        annotation(3, 8, [1, 2, 20, 20], iscrowd=1, occluded=True, instance_id=-1),
        annotation(4, 5, [1, 2, 20, 20], ignore=True),
        annotation(5, 5, [-10, 10, 20, 20], area=200),  # cut in half
    ]
    content = from_coco(coco(images, objects))
    assert frames(content) == [('a', 0, 'a/9.jpg'), ('a', 1, 'a/10.jpg'), ('b', 0, 'b/2.jpg')]
    assert boxes(content) == [
        ('a', 0, 'cat', 1, [1, 2, 10, 10]),
        ('a', 0, 'dog', None, [1, 2, 20, 20]),
        ('a', 1, 'dog', 2, [1, 2, 3.25, 4]),
        ('b', 0, 'dog', None, [0, 10, 10, 20]),
    ]
    flags = [(a['iscrowd'], a['occluded']) for a in content['annotations']]
    assert flags == [(False, False), (True, True), (False, False), (False, False)]
    assert [a['area'] for a in content['annotations']] == [100, 400, 9.5, 100]


def test_with_video_ids_only(from_coco):
    images = [
        image(1, 'x/a.jpg', video_id=7, frame_id=3),
        image(2, 'x/b.jpg', video_id=7, frame_id=1),
        image(3, 'p/c.jpg', video_id=2, frame_index=5),
        image(4, 'q/d.jpg', video_id=2, frame_index=4),
    ]
    content = from_coco(coco(images, [annotation(1, 1, [0, 0, 5, 5], instance_id=0)]))
    assert frames(content)[:2] == [('x', 0, 'x/b.jpg'), ('x', 1, 'x/a.jpg')]
    assert frames(content)[2:] == [('video_2', 0, 'q/d.jpg'), ('video_2', 1, 'p/c.jpg')]


def test_cocovid_keeps_its_key_frames_and_ids_may_be_hashes(from_coco, tmp_path):
    big, flags = 10**15 + 7, [True, False, True, False, False]
    images = [image(i, f'v/{i}.jpg', video_id=big, frame_id=i) for i in range(5)]
    for entry, flag in zip(images, flags, strict=True):
        entry['is_vid_train_frame'] = flag
    lists = {'categories': [{'id': big, 'name': 'cat'}, {'id': -5, 'name': 'dog'}]}
    lists['videos'] = [{'id': big, 'name': 'night'}]
    text = coco(images, [annotation(big, 0, [0, 0, 5, 5], category_id=big)], **lists)
    content = from_coco(text)
    assert content['videos'] == [{'id': 1, 'name': 'night', 'vid_train_frames': [0, 2]}]
    assert names(content) == ['cat', 'dog'] and content['annotations'][0]['category_id'] == 1
    assert CocoVideoIndex.open(tmp_path / 'ann.json').ann_categories.tolist() == [big]


def test_of_a_video_file(from_coco, tmp_path):
    """As CVAT exports a task on a video: names of frames that are nowhere but in the video."""
    write_video(tmp_path / 'ann.mp4', 3)
    images = [image(i, f'frame_{i:06d}.PNG') for i in (0, 2)]
    content = from_coco(coco(images, [annotation(1, 2, [0, 0, 5, 5])]))
    assert frames(content) == [('ann', 0, 'ann/000000.jpg'), ('ann', 1, 'ann/000002.jpg')]


def test_sizes_are_those_of_the_picture_upright(from_coco, refused, tmp_path):
    (tmp_path / 'v').mkdir()
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    Image.new('RGB', (48, 64)).save(tmp_path / 'v/0.png', exif=exif.tobytes())
    objects = [annotation(1, 1, [40, 10, 20, 20])]
    for given in ({'id': 1, 'file_name': 'v/0.png'}, image(1, 'v/0.png')):
        content = from_coco(coco([given], objects))
        assert content['annotations'][0]['bbox'] == [40, 10, 20, 20]
        assert (content['images'][0]['width'], content['images'][0]['height']) == (64, 48)
    write(tmp_path, {'ann.json': coco([image(1, 'v/0.png', width=48, height=64)], objects)})
    refused('coco', tmp_path / 'ann.json', r'48x64 pixels, but .*0\.png has 64x48')


def test_boxes_without_area_are_left_out_and_named(from_coco, capsys):
    flat = [[3, 3, 0, 9], [3, 3, -2, 9], [64, 3, 5, 9], [3, 3, 9, 0]]
    objects = [annotation(i, 1, box) for i, box in enumerate([*flat, [-10, -10, 12, 13]], 1)]
    assert boxes(from_coco(coco(GOOD_IMAGE, objects))) == [('v', 0, 'dog', None, [0, 0, 2, 3])]
    shown = capsys.readouterr().out
    assert '4 boxes have no area inside of the image' in shown
    assert 'annotation id 2' in shown and '[3, 3, -2, 9]' in shown


IN_VIDEO = dict(video_id=1, frame_id=2)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[1]', 'it has no list `images`'),
        (coco(GOOD_IMAGE, [{'id': 1, 'bboxes': [None]}]), 'YouTube-VIS'),
        (coco([{'id': 1, 'file_name': 'w/0.jpg'}], GOOD_BOX), 'image id 1 has no width and height'),
        ('{"images": [], "annotations": {}}', 'it has no list `annotations`'),
        (coco(GOOD_IMAGE * 2, []), 'two images have the id 1'),
        (coco(GOOD_IMAGE, [annotation(4, 1, [0, 5])]), r'id 4: `bbox` must be four finite numbers'),
        (coco(GOOD_IMAGE, [annotation(4, 2, [0, 0, 1, 1])]), 'annotation id 4 .*image_id 2 is not'),
        (coco([image(i, 'v/1.jpg', **IN_VIDEO) for i in (1, 2)], []), "'v' have frame_id 2"),
        (
            coco([image(1, 'a.jpg', video_id=1)], [], videos=[{'id': 4, 'name': 'v'}]),
            'image id 1 has the video_id 1, which is not in `videos`',
        ),
        (coco([image(1, 'v/0.jpg', width=63)], GOOD_BOX), '1 is for 63x48 pixels.*has 64x48'),
        (
            coco(GOOD_IMAGE, [annotation(7, 1, [70, 9, 5, 5])]),
            r'None of the 1 frames has a labelled object\. 1 boxes have no area .*annotation id 7',
        ),
    ],
)
def test_bad_files(tmp_path, refused, text, message):
    write_images(tmp_path / 'v', ['0.jpg'])
    refused('coco', write(tmp_path, {'ann.json': text}) / 'ann.json', message)
