"""The dataset checker: image files, split leakage, configs, and the command."""

import json
import shutil

import cv2
import pytest
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
from tiny_cocovid import picture


@pytest.fixture
def mine(tmp_path):
    return faultless_set(tmp_path)


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
        2: 'Cannot decode ',
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
    same_size[-20] ^= 255
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
    report = tmp_path / 'report.json'
    done = run_tool(
        repo / 'tools/check_dataset.py', mine[0], '--img-root', mine[1], '--json', report
    )
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


def test_the_command_without_its_files(repo, mine, tmp_path):
    done = run_tool(repo / 'tools/check_dataset.py', tmp_path / 'no.json', '--img-root', mine[1])
    assert done.returncode == 2 and f'there is no file {tmp_path / "no.json"}' in done.stderr
    done = run_tool(repo / 'tools/check_dataset.py', mine[0], '--img-root', tmp_path / 'no')
    assert done.returncode == 2 and 'there is no folder' in done.stderr
