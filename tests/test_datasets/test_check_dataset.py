"""The dataset checker: everything the index refuses and more, all at once, and the counts."""

import numpy as np
import pytest
from cocovid_oracle import check_against, make_dataset
from cocovid_oracle import write as write_json
from own_data import (
    annotation,
    changed,
    check,
    coco,
    faultless_set,
    faults,
    image,
    write,
    write_images,
)
from test_coco_video_parser import ordered
from tiny_cocovid import write_video_set

from mmdet.datasets.motion import motion_from_tracks
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.selection import FrameAnnotations
from mmdet.programs.check.faults import KEPT, FaultLog
from mmdet.programs.check.statistics import count, usable_boxes
from mmdet.structures import Frame


@pytest.fixture
def mine(tmp_path):
    return faultless_set(tmp_path)


def test_a_faultless_dataset(mine):
    ann_file, root = mine
    report = check(ann_file, root, decode='all')
    assert faults(report) == [] and report.log.total == 0
    statistics = report.statistics
    assert (statistics.videos, statistics.frames, statistics.key_frames) == (2, 4, 4)
    assert (statistics.boxes, statistics.empty_frames, statistics.tracks) == (4, 1, 3)
    assert statistics.video_frames == (1, 2.0, 3) and statistics.track_frames == (1, 1.0, 2)
    cat, dog = statistics.classes
    assert (cat.name, cat.videos, cat.frames, cat.boxes, cat.tracks) == ('cat', 1, 1, 1, 1)
    assert (dog.name, dog.videos, dog.frames, dog.boxes, dog.tracks) == ('dog', 2, 3, 3, 2)
    assert dog.sizes == {'small': 3, 'medium': 0, 'large': 0}
    # the dog's two boxes share 384 of 768 pixels: IoU 1/2; a track of one box has motion IoU 1
    assert dog.motion == {'fast': 2, 'medium': 0, 'slow': 1}


# --- structure -----------------------------------------------------------------------------------


def test_what_the_index_takes_has_no_fault_of_structure(tmp_path):
    dataset = make_dataset((4, 1, 9))
    log = FaultLog()
    check_against(CocoVideoIndex.read(write_json(tmp_path, dataset), log.add), dataset)
    assert log.total == 0


def test_all_faults_at_once_and_no_blame_for_their_consequences(tmp_path):
    def change(dataset):
        images, annotations = dataset['images'], dataset['annotations']
        del images[1]['width']  # frame 1 of video 3: neither its boxes nor the gap are faults
        images[5]['frame_id'] = 7  # of 0, 1, 2 in video 17
        images[2]['video_id'] = 99
        annotations[0]['bbox'] = [1, 2, 3]
        annotations[0]['area'] = 'big'
        annotations[1]['category_id'] = 77
        annotations[2]['image_id'] = 1234
        annotations[4]['id'] = annotations[3]['id']
        dataset['categories'].append({'id': 16, 'name': 'dog'})
        dataset['videos'].append({'id': 4, 'name': 'val/video_0'})

    dataset = ordered()
    change(dataset)
    path = write_json(tmp_path, dataset)
    report = check(path, tmp_path, decode='none')
    structural = [f for f in report.log.kept if f.check not in ('files', 'frame sizes', 'tracks')]
    structural = [str(fault) for fault in structural if fault.check != 'boxes']
    ids = [a['id'] for a in dataset['annotations']]
    expected = [
        'image id 2: has no `width`',
        f'annotation id {ids[0]}: `bbox` must be four finite numbers',
        f'annotation id {ids[0]}: `area` must be a finite number',
        f'annotation id {ids[1]}: category_id 77 is not in `categories`',
        f'annotation id {ids[2]}: image_id 1234 is not in `images`',
        f'annotation id {ids[3]}: the id must be unique',
        'image id 3: video id 99 is not in `videos`',
        'image id 7: frame_id 1 follows, but frame_id 0 of video id 17 is missing',
        'category id 16 (dog): the name is that of category id 15 too',
        'video id 4 (val/video_0): the name is that of video id 3 too',
        'video id 4 (val/video_0): has no frames',
    ]
    for text in expected:
        assert sum(text in fault for fault in structural) == 1, text
    assert len(structural) == len(expected)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'not an annotation file: it is empty'),
        ('{"images": [], "annotations": [{"id"', 'where it ends (is it cut short?)'),
        ('{"images": [], "annotations": []}', '`categories`: the list is missing'),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path, content, message):
    write(tmp_path, {'ann.json': content})
    report = check(tmp_path / 'ann.json', tmp_path)
    assert report.log.total == 1 and message in faults(report)[0]
    assert report.statistics is None


def test_frames_of_a_video_have_one_size(mine):
    ann_file, root = mine
    changed(ann_file, lambda d: d['images'][1].update(width=65))
    (text,) = faults(check(ann_file, root, decode='none'))
    assert text.startswith('image id 2 (images/cam1/f_2.jpg): is 65x48')
    assert 'first frame of its video is 64x48 (1 of 3 frames differ)' in text


# --- boxes and tracks ----------------------------------------------------------------------------


def test_boxes_and_tracks_by_hand(tmp_path):
    """The awkward frames of `tiny_cocovid`, frame f of video 1 being image id f + 1."""
    arguments = write_video_set(tmp_path, test=False)
    report = check(tmp_path / 'ann.json', arguments['img_prefix'])
    assert dict(report.log.counts) == {'boxes': 5, 'tracks': 6}
    boxes = [str(fault) for fault in report.log.kept if fault.check == 'boxes']
    words = {
        6: 'bbox [8, 8, 0, 9] has a side below 1 pixel: it is left out',
        7: 'bbox [65, 4, 9, 9] lies outside of the image: it is left out',
        10: 'bbox [-7, 4, 20, 60] reaches over 64x48',
        14: 'bbox [1, 2, 0.9, 20] has a side below 1 pixel: it is left out',
        15: 'bbox [1, 2, 30, 20] has an `area` of at most 0: it is left out',
    }
    for image_id, text in words.items():
        name = f'tiny/video_1/{image_id - 1:06d}.JPEG'
        assert sum(f'of image id {image_id} ({name}): {text}' in box for box in boxes) == 1
    tracks = [str(fault) for fault in report.log.kept if fault.check == 'tracks']
    frames = [6, 7, 8, 9, 14, 15]  # where the second box has the instance id of the first
    assert all(f'of image id {i} (' in text for i, text in zip(frames, tracks, strict=True))
    assert 'instance_id 1 is that of annotation id ' in tracks[0]


def test_counted_boxes_are_those_that_the_dataset_gives(tmp_path):
    rng = np.random.default_rng(5)
    boxes = rng.choice([-30, -1, 0, 0.5, 0.99, 1, 5, 40, 47, 48, 60, 64, 70], (400, 4)).tolist()
    images = [image(i, f'v/{i}.jpg', video_id=1, frame_id=i) for i in range(400)]
    flags = [dict(iscrowd=bool(i % 7 == 0), ignore=bool(i % 5 == 0)) for i in range(400)]
    areas = [{} if i % 11 else dict(area=i % 2) for i in range(400)]
    objects = [annotation(i, i, boxes[i], **flags[i], **areas[i]) for i in range(400)]
    write(tmp_path, {'ann.json': coco(images, objects, videos=[{'id': 1, 'name': 'v'}])})
    index = CocoVideoIndex.open(tmp_path / 'ann.json')
    report = check(tmp_path / 'ann.json', tmp_path, decode='none')
    source = FrameAnnotations(index, {9: 0}, tracks=True)
    given = []
    for i in range(400):
        source(frame := Frame('', image_id=i))
        given.append(len(frame.boxes) == 1)
        # reported, unless it is used or does not matter
        used = len(frame.boxes) + len(frame.boxes_ignore)
        left_out = [f for f in faults(report) if f'annotation id {i} of' in f and 'left' in f]
        assert len(left_out) == (not used and not flags[i]['ignore'])
    assert usable_boxes(index).tolist() == given
    assert 20 < sum(given) < 380


@pytest.mark.parametrize(
    ('box', 'over'),
    [
        ([-1, -1, 20, 20], False),
        ([-1.5, 3, 20, 20], True),
        ([3, -1.5, 20, 20], True),
        ([45, 29, 20, 20], False),
        ([45.5, 28, 20, 20], True),
        ([44, 29.5, 20, 20], True),
    ],
)
def test_a_pixel_over_the_border_is_rounding(mine, box, over):
    ann_file, root = mine
    changed(ann_file, lambda d: d['annotations'][0].update(bbox=box))
    texts = faults(check(ann_file, root, decode='none'))
    assert len(texts) == over and all('reaches over 64x48' in text for text in texts)


def test_what_is_no_fault_becomes_a_note(mine):
    ann_file, root = mine
    changed(ann_file, lambda d: d['annotations'][3].update(instance_id=1))
    report = check(ann_file, root)
    assert report.log.total == 0
    assert '1 instance ids occur in several videos, such as 1' in report.log.notes[0]
    assert report.statistics.tracks == 3  # still told apart by video

    def change(dataset):
        del dataset['annotations'][3]['instance_id']
        dataset['categories'].append({'id': 3, 'name': 'bird'})
        for entry in dataset['images']:
            entry['is_vid_train_frame'] = False

    changed(ann_file, change)
    report = check(ann_file, root)
    notes = ' '.join(report.log.notes)
    assert report.log.total == 0 and report.statistics.tracks is None
    for words in ('no AP by motion', 'Classes without a box: bird.', 'for testing only'):
        assert words in notes


# --- counts --------------------------------------------------------------------------------------


def test_counts_against_loops_over_the_dicts(tmp_path):
    dataset = make_dataset((30, 12, 1), seed=2)
    for entry in dataset['annotations']:
        entry['bbox'][2:] = [side / 2 + 2 for side in entry['bbox'][2:]]
        entry['area'] = entry['bbox'][2] * entry['bbox'][3]
    dataset['annotations'][3].update(area=32**2, iscrowd=False, ignore=False)  # small, just so
    dataset['annotations'][5].update(area=96**2, iscrowd=False, ignore=False)  # medium
    path = write_json(tmp_path, dataset)
    statistics = count(CocoVideoIndex.open(path))
    video_of = {i['id']: i['video_id'] for i in dataset['images']}
    used = [a for a in dataset['annotations'] if not a['iscrowd'] and not a['ignore']]
    assert statistics.boxes == len(used) > 10
    assert statistics.other_boxes == len(dataset['annotations']) - len(used)
    assert statistics.empty_frames == 43 - len({a['image_id'] for a in used})
    assert statistics.video_frames == (1, 12.0, 30)
    lengths = {}
    for a in used:
        key = video_of[a['image_id']], a['instance_id']
        lengths[key] = lengths.get(key, 0) + 1
    assert statistics.tracks == len(lengths)
    spread = (min(lengths.values()), np.median(list(lengths.values())), max(lengths.values()))
    assert statistics.track_frames == spread
    for number, counts in zip((5, 15), statistics.classes, strict=True):
        mine = [a for a in used if a['category_id'] == number]
        assert counts.boxes == len(mine)
        assert counts.frames == len({a['image_id'] for a in mine})
        assert counts.videos == len({video_of[a['image_id']] for a in mine})
        assert counts.sizes['small'] == sum(a['area'] <= 32**2 for a in mine)
        assert counts.sizes['large'] == sum(a['area'] > 96**2 for a in mine)
        assert sum(counts.motion.values()) == sum(counts.sizes.values()) == len(mine)


def test_motion_is_that_of_scoring(tmp_path):
    """Where all boxes count, so that both see the same tracks."""
    images = [image(i, f'v/{i}.jpg', video_id=1, frame_id=i) for i in range(12)]
    objects = [
        annotation(12 * t + i, i, [i * t * 1.5, 5, 20, 20], instance_id=t)
        for t in range(3)
        for i in range(12)
    ]
    write(tmp_path, {'ann.json': coco(images, objects, videos=[{'id': 1, 'name': 'v'}])})
    index = CocoVideoIndex.open(tmp_path / 'ann.json')
    counts, motion = count(index).classes[1].motion, motion_from_tracks(index)
    expected = [(motion < 0.7).sum(), ((motion >= 0.7) & (motion < 0.9)).sum()]
    assert list(counts.values()) == [*expected, (motion >= 0.9).sum()]
    assert 0 < counts['slow'] < 36


def test_an_image_set(tmp_path):
    write_images(tmp_path, ['a.jpg', 'b.jpg'])
    write(tmp_path, {'ann.json': coco([image(1, 'a.jpg'), image(2, 'b.jpg')], [])})
    report = check(tmp_path / 'ann.json', tmp_path, decode='all')
    assert report.log.total == 0 and report.statistics.videos == 0
    assert 'no videos' in ' '.join(report.log.notes)


# --- the log -------------------------------------------------------------------------------------


def test_faults_are_counted_and_no_kind_hides_another():
    log = FaultLog()
    for kind, number in (('boxes', KEPT + 5), ('tracks', 3), ('files', 50)):
        for i in range(number):
            log.add(kind, f'{kind} {i}', 'wrong')
    assert log.total == KEPT + 58 and len(log.kept) == KEPT + 53
    shown = [fault.entry for fault in log.first(20)]
    numbers = {'boxes': 9, 'tracks': 3, 'files': 8}
    assert shown == [f'{kind} {i}' for kind, number in numbers.items() for i in range(number)]
