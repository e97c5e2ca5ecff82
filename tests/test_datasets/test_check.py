"""The dataset checker: all faults at once, counts, image files, leakage, configs, the command."""

import json
import shutil

import cv2
import pytest
from cocovid_oracle import ordered
from cocovid_oracle import write as write_json
from own_data import annotation, changed, coco, image, one_video, write, write_frames, write_images
from tiny_cocovid import picture, write_video_set

from mmdet.programs.check import CheckOptions, check_dataset
from mmdet.programs.check.faults import KEPT


def check(ann_file, img_root, decode='none', **options):
    return check_dataset(ann_file, CheckOptions(img_root, decode, **options))


def faults(report, *kinds) -> list[str]:
    return [str(fault) for fault in report.log.kept if not kinds or fault.check in kinds]


@pytest.fixture
def mine(yolo, convert, tmp_path):
    """A faultless dataset; (annotation file, image root)."""
    convert('yolo', yolo)
    return tmp_path / 'out.json', yolo


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
    report = check(write_json(tmp_path, dataset), tmp_path)
    found = faults(report, 'structure', 'frame numbering', 'names')
    expected = [
        'image id 2: has no `width`',
        'annotation id 1: `bbox` must be four finite numbers',
        'annotation id 1: `area` must be a finite number',
        'annotation id 2: category_id 77 is not in `categories`',
        'annotation id 3: image_id 1234 is not in `images`',
        'annotation id 4: the id must be unique',
        'image id 3: video id 99 is not in `videos`',
        'image id 7: frame_id 1 follows, but frame_id 0 of video id 17 is missing',
        'category id 16 (dog): the name is that of category id 15 too',
        'video id 4 (val/video_0): the name is that of video id 3 too',
        'video id 4 (val/video_0): has no frames',
    ]
    assert [sum(text in fault for fault in found) for text in expected] == [1] * len(found)


def test_boxes_and_tracks_by_hand(tmp_path):
    """The awkward frames of `tiny_cocovid`, frame f of video 1 being image id f + 1."""
    arguments = write_video_set(tmp_path, test=False)
    report = check(tmp_path / 'ann.json', arguments['img_prefix'])
    assert dict(report.log.counts) == {'boxes': 5, 'tracks': 6}
    words = {
        6: 'bbox [8, 8, 0, 9] has a side below 1 pixel: it is left out',
        7: 'bbox [65, 4, 9, 9] lies outside of the image: it is left out',
        10: 'bbox [-7, 4, 20, 60] reaches over 64x48',
        14: 'bbox [1, 2, 0.9, 20] has a side below 1 pixel: it is left out',
        15: 'bbox [1, 2, 30, 20] has an `area` of at most 0: it is left out',
    }
    boxes, tracks = '\n'.join(faults(report, 'boxes')), faults(report, 'tracks')
    for i, text in words.items():
        assert boxes.count(f'of image id {i} (tiny/video_1/{i - 1:06d}.JPEG): {text}') == 1
    frames = [6, 7, 8, 9, 14, 15]  # where the second box has the instance id of the first
    assert all(f'of image id {i} (' in text for i, text in zip(frames, tracks, strict=True))
    assert 'instance_id 1 is that of annotation id ' in tracks[0]


@pytest.mark.parametrize(
    ('decode', 'expected'), [('none', [4]), ('sample', [3, 4, 6]), ('all', [2, 3, 4, 6])]
)
def test_files(tmp_path, decode, expected):
    """A video of 7 frames; frame 2 is cut short, 3 of another size, 4 missing, 6 no image."""
    folder = write_frames(tmp_path / 'v', 7)
    write(tmp_path, {'ann.json': one_video(7, [annotation(1, 0, [0, 0, 5, 5], instance_id=1)])})
    data = (folder / '000002.jpg').read_bytes()
    (folder / '000002.jpg').write_bytes(data[: len(data) // 2])
    cv2.imwrite(str(folder / '000003.jpg'), picture(0, 60, 48))
    (folder / '000004.jpg').unlink()
    (folder / '000006.jpg').write_text('text')
    words = {
        2: 'it is damaged or truncated',
        3: '000003.jpg is 60x48, but the annotation file says 64x48',
        4: '000004.jpg does not exist',
        6: 'Cannot decode ',
    }
    report = check(tmp_path / 'ann.json', tmp_path, decode)
    assert dict(report.log.counts) == {'files': len(expected)}
    for number, text in zip(expected, faults(report), strict=True):
        assert text.startswith(f'image id {number} (v/{number:06d}.jpg): ')
        assert words[number] in text


def test_leakage(mine, tmp_path):
    ann_file, root = mine
    other = write_images(tmp_path / 'other', ['1.jpg', '2.jpg', '3.jpg'], size=(80, 40))
    shutil.copy(root / 'images/cam1/f_2.jpg', other / '2.jpg')
    same_size = bytearray((root / 'images/cam1/f_1.jpg').read_bytes())
    same_size[-20] ^= 255  # far from the piece in the middle
    (other / '3.jpg').write_bytes(same_size)
    images = [image(i, f'{i}.jpg', video_id=5, frame_id=i - 1) for i in (1, 2, 3)]
    write(other, {'val.json': coco(images, [], videos=[{'id': 5, 'name': 'images/sub/cam2'}])})
    report = check(ann_file, root, against=other / 'val.json', against_root=other)
    assert dict(report.log.counts) == {'split leakage': 2}
    name, same = faults(report)
    assert name.startswith('video id 2 (images/sub/cam2): the name is that of video id 5 of')
    assert same.startswith('image id 2 (images/cam1/f_2.jpg): is the same picture as image id 2 (')


CONFIG = """
model = dict(type='FasterRCNN', roi_head=dict(bbox_head=dict(num_classes=2)))
data = dict(type='{kind}', ann_file='{ann}', img_prefix='x', classes={classes}, pipeline=[])
train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[data]))
test_dataloader = dict(dataset=dict(data, ann_file='elsewhere.json'))
"""


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (dict(classes=('cat', 'dog')), []),
        (dict(classes=('cat', 'bird')), ["has no category 'bird' (1 of the 2 classes"]),
        (dict(classes=('dog',)), ['is 2, but `train_dataloader` has 1 classes']),
        (dict(kind='ImagenetVIDDataset'), ['(29 of the 30 classes']),
        (dict(ann='other.json', classes=('cat', 'bird')), ["has no category 'bird'"]),
    ],
)
def test_config(mine, tmp_path, values, expected):
    values = dict(ann=mine[0], kind='CocoVideoDataset', classes=None) | values
    write(tmp_path, {'config.py': CONFIG.format(**values)})
    report = check(*mine, config=tmp_path / 'config.py')
    texts = faults(report)
    assert ('No dataset of' in ''.join(report.log.notes)) == (values['ann'] == 'other.json')
    assert len(texts) == len(expected)
    for text, words in zip(texts, expected, strict=True):
        assert words in text and text.startswith('train_dataloader of ')


def test_the_command(run_tool, mine, tmp_path):
    def run(*options):
        done = run_tool('check_dataset.py', *options, '--json', tmp_path / 'report.json')
        assert 'Traceback' not in done.stderr
        return done

    ann_file, root = mine
    rounded = dict(bbox=[-1, -1, 32, 24])  # a pixel over the border is no fault
    changed(ann_file, lambda d: d['annotations'][1].update(rounded))
    done = run(ann_file, '--img-root', root)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ('no faults', 'training key frames', 'dog', 'small', 'slow', 'track length'):
        assert words in done.stdout
    content = json.loads((tmp_path / 'report.json').read_text())
    assert content['faults'] == {'total': 0, 'by_check': {}}
    dog = content['statistics']['classes'][1]
    # its two boxes share 384 of 768 pixels: IoU 1/2; a track of one box has motion IoU 1
    assert dog['boxes'] == 3 and dog['motion'] == {'fast': 2, 'medium': 0, 'slow': 1}

    def change(dataset):
        wrong = dict(dataset['annotations'][0], bbox=[1, 1, 0, 5], instance_id=9)
        dataset['annotations'] += [dict(wrong, id=100 + i) for i in range(KEPT + 5)]

    changed(ann_file, change)
    done = run(ann_file, '--img-root', root)  # shows the first twenty faults
    assert done.returncode == 1
    assert f'{2 * KEPT + 9:,} faults (boxes {KEPT + 5:,}, tracks {KEPT + 4:,})' in done.stdout
    assert done.stdout.count('bbox [1, 1, 0, 5] has a side below 1 pixel') == 10
    content = json.loads((tmp_path / 'report.json').read_text())
    assert len(content['first_faults']) == 2 * KEPT
    assert run(tmp_path / 'no.json', '--img-root', root).returncode == 2
    write(tmp_path, {'no.json': '', 'bad.py': 'x = ('})
    (fault,) = faults(check(tmp_path / 'no.json', root))
    assert 'not an annotation file: it is empty' in fault
    assert 'cannot be read: No such file' in faults(check(tmp_path / 'gone.json', root))[0]
    found = faults(check(*mine, config=tmp_path / 'bad.py', against=tmp_path / 'gone.json'))
    assert 'Cannot read the config' in found[-2] and 'gone.json: cannot be read' in found[-1]
