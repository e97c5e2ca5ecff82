"""The dataset checker: all faults at once, counts, image files, leakage, configs, the command."""

import json
import shutil

import cv2
import numpy as np
import pytest
from cocovid_oracle import make_dataset
from cocovid_oracle import write as write_json
from own_data import (
    annotation,
    changed,
    check,
    coco,
    faultless_set,
    faults,
    image,
    run_tool,
    write,
    write_frames,
    write_images,
)
from rich.console import Console
from test_coco_video_parser import ordered
from tiny_cocovid import picture, write_video_set

from mmdet.datasets.motion import motion_from_tracks
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.selection import annotate
from mmdet.programs.check import print_report
from mmdet.programs.check.faults import KEPT, FaultLog
from mmdet.programs.check.statistics import count
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


def test_all_faults_at_once_and_no_blame_for_their_consequences(tmp_path):
    dataset = ordered()
    images, annotations = dataset['images'], dataset['annotations']
    del images[1]['width']  # frame 1 of video 3: neither its boxes nor the gap are faults
    images[5]['frame_id'] = 7  # of 0, 1, 2 in video 17
    images[2]['video_id'] = 99
    annotations[0] |= {'bbox': [1, 2, 3], 'area': 'big'}
    annotations[1]['category_id'] = 77
    annotations[2]['image_id'] = 1234
    annotations[4]['id'] = annotations[3]['id']
    dataset['categories'].append({'id': 16, 'name': 'dog'})
    dataset['videos'].append({'id': 4, 'name': 'val/video_0'})
    report = check(write_json(tmp_path, dataset), tmp_path, decode='none')
    kinds = ('structure', 'frame numbering', 'names')
    structural = [str(fault) for fault in report.log.kept if fault.check in kinds]
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
    given = []
    for i in range(400):
        annotate(frame := Frame('', image_id=i), index, {9: 0}, tracks=True)
        given.append(len(frame.boxes) == 1)
        # reported, unless it is used or does not matter
        used = len(frame.boxes) + len(frame.boxes_ignore)
        left_out = [f for f in faults(report) if f'annotation id {i} of' in f and 'left' in f]
        assert len(left_out) == (not used and not flags[i]['ignore'])
    assert report.statistics.boxes == sum(given)
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


def test_what_is_no_fault_is_said(mine, capsys):
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
    assert report.log.total == 0 and report.statistics.tracks is None
    print_report(report, Console())
    shown = capsys.readouterr().out
    for words in ('no AP by motion', 'Classes without a box: bird.', 'for testing only'):
        assert words in shown


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


def test_faults_are_counted_and_no_kind_hides_another():
    log = FaultLog()
    for kind, number in (('boxes', KEPT + 5), ('tracks', 3), ('files', 50)):
        for i in range(number):
            log.add(kind, f'{kind} {i}', 'wrong')
    assert log.total == KEPT + 58 and len(log.kept) == KEPT + 53
    shown = [fault.entry for fault in log.first(20)]
    numbers = {'boxes': 9, 'tracks': 3, 'files': 8}
    assert shown == [f'{kind} {i}' for kind, number in numbers.items() for i in range(number)]


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def long(tmp_path):
    """A video of 7 frames; frame 2 is cut short, 3 of another size, 4 missing, 6 no image."""
    folder = write_frames(tmp_path / 'v', 7)
    images = [image(i, f'v/{i:06d}.jpg', video_id=1, frame_id=i) for i in range(7)]
    objects = [annotation(1, 0, [0, 0, 5, 5], instance_id=1)]
    write(tmp_path, {'ann.json': coco(images, objects, videos=[{'id': 1, 'name': 'v'}])})
    data = (folder / '000002.jpg').read_bytes()
    (folder / '000002.jpg').write_bytes(data[: len(data) // 2])
    cv2.imwrite(str(folder / '000003.jpg'), picture(0, 60, 48))
    (folder / '000004.jpg').unlink()
    (folder / '000006.jpg').write_text('text')
    return tmp_path / 'ann.json'


@pytest.mark.parametrize(
    ('decode', 'expected'), [('none', [4]), ('sample', [3, 4, 6]), ('all', [2, 3, 4, 6])]
)
def test_files(long, decode, expected):
    words = {
        2: 'it is damaged or truncated',
        3: '000003.jpg is 60x48, but the annotation file says 64x48',
        4: '000004.jpg does not exist',
        6: 'Cannot decode ',
    }
    report = check(long, long.parent, decode=decode)
    assert dict(report.log.counts) == {'files': len(expected)}
    for number, text in zip(expected, faults(report), strict=True):
        assert text.startswith(f'image id {number} (v/{number:06d}.jpg): ')
        assert words[number] in text


def test_a_wrong_image_root_is_guessed(mine, tmp_path):
    report = check(mine[0], tmp_path / 'images')
    assert report.log.counts['files'] == 4
    assert 'is --img-root right?' in ' '.join(report.log.notes)


# --- split leakage -------------------------------------------------------------------------------


def test_leakage(mine, tmp_path):
    ann_file, root = mine
    other = tmp_path / 'other'
    write_images(other / 'cam9', ['1.jpg', '2.jpg', '3.jpg', '4.jpg'], size=(80, 40))
    shutil.copy(root / 'images/cam1/f_2.jpg', other / 'cam9/2.jpg')
    same_size = bytearray((root / 'images/cam1/f_1.jpg').read_bytes())
    same_size[-20] ^= 255  # far from the piece in the middle
    (other / 'cam9/3.jpg').write_bytes(same_size)
    (other / 'cam9/4.jpg').unlink()
    names = [f'cam9/{i}.jpg' for i in (1, 2, 3, 4)]
    images = [image(i, name, video_id=5, frame_id=i) for i, name in enumerate(names)]
    videos = [{'id': 5, 'name': 'images/sub/cam2'}]
    write(other, {'val.json': coco(images, [], videos=videos)})
    report = check(ann_file, root, against=other / 'val.json', against_root=other)
    texts = faults(report)
    assert dict(report.log.counts) == {'split leakage': 2}
    assert texts[0].startswith('video id 2 (images/sub/cam2): the name is that of video id 5 of')
    assert texts[1].startswith(
        'image id 2 (images/cam1/f_2.jpg): is the same picture as image id 1 (cam9/2.jpg) of'
    )
    itself = check(ann_file, root, against=ann_file)
    assert itself.log.counts['split leakage'] == 2 + 4


def test_large_files_that_differ_in_one_byte(tmp_path):
    for side, byte in (('a', b'0'), ('b', b'1')):
        (tmp_path / side).mkdir()
        (tmp_path / side / '1.jpg').write_bytes(b'x' * 20_000 + byte)
        (tmp_path / side / '2.jpg').write_bytes(b'y' * 20_000)
        images = [image(1, f'{side}/1.jpg'), image(2, f'{side}/2.jpg')]
        write(tmp_path, {f'{side}.json': coco(images, [])})
    report = check(tmp_path / 'a.json', tmp_path, decode='none', against=tmp_path / 'b.json')
    assert [str(fault).split(':')[0] for fault in report.log.kept] == ['image id 2 (a/2.jpg)']


# --- config --------------------------------------------------------------------------------------

CONFIG = """
model = dict(type='FasterRCNN', roi_head=dict(bbox_head=dict(num_classes={count})))
data = dict(type='{kind}', ann_file='{ann}', img_prefix='x', classes={classes}, pipeline=[])
train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[data]))
test_dataloader = dict(dataset=dict(data, ann_file='elsewhere.json'))
"""


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (dict(classes=('cat', 'dog')), []),
        (dict(classes=None), []),
        (dict(classes=('dog',), count=1), []),
        (dict(classes=('cat', 'bird')), ["has no category 'bird' (1 of the 2 classes"]),
        (dict(classes=('dog',)), ['is 2, but `train_dataloader` has 1 classes']),
        (dict(classes=None, count=30), ['is 30, but `train_dataloader` has 2 classes']),
        (dict(classes=None, kind='ImagenetVIDDataset'), ['(29 of the 30 classes']),
        (dict(classes=None, kind='NoDataset'), ["Unknown dataset 'NoDataset'"]),
    ],
)
def test_config(mine, tmp_path, values, expected):
    ann_file, root = mine
    values = dict(count=2, kind='CocoVideoDataset', ann=ann_file) | values
    write(tmp_path, {'config.py': CONFIG.format(**values)})
    report = check(ann_file, root, config=tmp_path / 'config.py')
    texts = faults(report)
    assert len(texts) == len(expected)
    for text, words in zip(texts, expected, strict=True):
        assert words in text and text.startswith('train_dataloader of ')


def test_config_of_another_file_or_none(mine, tmp_path):
    ann_file, root = mine
    values = dict(count=2, kind='CocoVideoDataset', ann='x.json', classes=('cat', 'bird'))
    write(tmp_path, {'config.py': CONFIG.format(**values), 'bad.py': 'x = ('})
    report = check(ann_file, root, config=tmp_path / 'config.py')
    assert report.log.total == 1 and 'No dataset of' in report.log.notes[0]
    report = check(ann_file, root, config=tmp_path / 'bad.py')
    assert report.log.total == 1 and 'Cannot read the config' in faults(report)[0]


# --- the command ---------------------------------------------------------------------------------


def test_the_command_on_a_faultless_dataset(repo, mine, tmp_path):
    (ann_file, root), report = mine, tmp_path / 'report.json'
    done = run_tool(repo / 'tools/check_dataset.py', ann_file, '--img-root', root, '--json', report)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'no faults' in done.stdout
    for words in ('videos', 'training key frames', 'dog', 'small', 'slow', 'track length'):
        assert words in done.stdout
    content = json.loads(report.read_text())
    assert content['faults'] == {'total': 0, 'by_check': {}}
    assert content['statistics']['classes'][1]['boxes'] == 3


def test_the_command_shows_the_first_twenty_faults(repo, mine, tmp_path):
    ann_file, root = mine

    def change(dataset):
        first = dataset['annotations'][0]
        for i in range(30):
            dataset['annotations'].append(dict(first, id=100 + i, bbox=[1, 1, 0, 5], instance_id=9))

    changed(ann_file, change)
    report = tmp_path / 'report.json'
    done = run_tool(repo / 'tools/check_dataset.py', ann_file, '--img-root', root, '--json', report)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert '59 faults (boxes 30, tracks 29)' in done.stdout
    assert done.stdout.count('bbox [1, 1, 0, 5] has a side below 1 pixel') == 10
    assert done.stdout.count('in the same frame') == 10
    assert 'annotation id 100 of image id 1 (images/cam1/f_1.jpg): bbox' in done.stdout
    assert '... and 39 more' in done.stdout
    content = json.loads(report.read_text())
    assert len(content['first_faults']) == content['faults']['total'] == 59
    for arguments, message in [
        ((tmp_path / 'no.json', '--img-root', root), f'there is no file {tmp_path / "no.json"}'),
        ((ann_file, '--img-root', tmp_path / 'no'), 'there is no folder'),
    ]:
        done = run_tool(repo / 'tools/check_dataset.py', *arguments)
        assert done.returncode == 2 and message in done.stderr
