"""YOLO and VOC, one label file per frame, to CocoVID: by hand, real variants, bad inputs."""

import pytest
from own_data import boxes, frames, names, write, write_frames, write_images, write_video

from mmdet.programs.convert.label_files import video_of


def test_yolo_folders(yolo, convert):
    content = convert('yolo', yolo)
    assert frames(content) == [
        *(('images/cam1', i, f'images/cam1/f_{n}.jpg') for i, n in enumerate((1, 2, 10))),
        ('images/sub/cam2', 0, 'images/sub/cam2/1.png'),
    ]
    assert boxes(content) == [
        ('images/cam1', 0, 'dog', 1, [24, 12, 16, 24]),
        ('images/cam1', 0, 'cat', 2, [0, 0, 32, 24]),
        ('images/cam1', 1, 'dog', 1, [16, 12, 32, 24]),
        ('images/sub/cam2', 0, 'dog', 3, [8, 15, 16, 10]),
    ]
    assert content['categories'] == [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
    keys = [(v['id'], v['vid_train_frames']) for v in content['videos']]
    assert keys == [(1, [0, 1, 2]), (2, [0])]
    expected = dict(id=4, file_name='images/sub/cam2/1.png', height=40, width=32, frame_id=0)
    assert content['images'][3] == expected | dict(video_id=2, is_vid_train_frame=True)
    expected = dict(id=1, video_id=1, image_id=1, category_id=2, instance_id=1, area=384)
    expected |= dict(bbox=[24, 12, 16, 24], iscrowd=False, occluded=False, generated=False)
    assert content['annotations'][0] == expected


def test_yolo_file_name_prefixes_and_labels_beside_the_images(tmp_path, convert, capsys):
    root = write_images(tmp_path / 'data', ['a_2.jpg', 'a_10.jpg', 'b-1.jpg', 'b-2.jpg'])
    write(root, {'classes.txt': 'cat\ndog\n', 'a_2.txt': '0 .5 .5 .5 .5'})
    content = convert('yolo', root, group='prefix')
    found = [('a', 0, 'a_2.jpg'), ('a', 1, 'a_10.jpg'), ('b', 0, 'b-1.jpg'), ('b', 1, 'b-2.jpg')]
    assert frames(content) == found
    assert boxes(content) == [('a', 0, 'cat', None, [16, 12, 32, 24])]
    shown = capsys.readouterr().out
    assert '3 frames have no label file' in shown and '1 of 1 boxes have no track id' in shown
    convert('yolo', root)
    assert 'add --group prefix' in capsys.readouterr().out
    roboflow = 'i/cam1_mp4-2_jpg.rf.3f2a9c1e0b7d4a5f.jpg'
    assert video_of(roboflow, 'prefix') == 'i/cam1_mp4'


@pytest.mark.parametrize(
    ('row', 'expected'),
    [
        ('0.0 0.5 0.5 0.5 0.5 3.0', (1, [16, 12, 32, 24])),
        ('0 0.5 0.5 0.5 0.5 -1', (None, [16, 12, 32, 24])),  # a tracker that lost it
        ('0 0.5 0.5 0.5 0.5 0.87 3', (1, [16, 12, 32, 24])),  # with its confidence
        ('0 0.25 0.5 0.75 0.25 0.5 0.75', (None, [16, 12, 32, 24])),  # triangle
        ('0 0.25 0.25 0.5 0.25 0.5 1 0.25 1', (None, [16, 12, 16, 36])),  # four corners
        ('0 0 0.5 0.5 0.5', (None, [0, 12, 16, 24])),  # half of it is outside
    ],
)
def test_yolo_columns(tmp_path, convert, row, expected):
    root = write(write_frames(tmp_path / 'v', 1), {'classes.txt': 'cat', '000000.txt': row})
    assert boxes(convert('yolo', root)) == [('v', 0, 'cat', *expected)]


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('0 0.5 0.5 0.5', r'row 2 of .*000000\.txt: 4 columns'),
        ('0 0.5 0.5 0.5 0.5 0.9', r'column 6 is .0\.9.*confidence'),
        ('0 320 0.5 0.5 0.5', r'column 2 is 320, not in 0\.\.1\..*pixels'),
        ('0 0.5 nan 0.5 0.5', r"row 2 of .*column 3 is 'nan', not a finite number"),
        ('2 0.5 0.5 0.5 0.5', r'class 2 is not one of the 2 names \(0 to 1\) of .*classes\.txt'),
        ('0 .5 .5 .2 .2 4', r'row 2 of .*: the track 4 is already that of row 1'),
    ],
)
def test_yolo_bad_rows(tmp_path, refused, row, message):
    files = {'classes.txt': 'a\nb\n', '000000.txt': f'1 0.5 0.5 0.5 0.5 4\n{row}\n'}
    refused('yolo', write(write_frames(tmp_path / 'v', 1), files), message)


def test_yolo_files_that_do_not_match(yolo, refused):
    write(yolo, {'labels/cam1/f_3.txt': ''})
    refused('yolo', yolo, r'f_3\.txt belongs to no frame.*1 of 4 label files')
    write_images(yolo / 'images/cam1', ['f_2.png'])
    refused('yolo', yolo, r'f_2\.(jpg|png) and f_2\.(jpg|png) would be the')
    (yolo / 'data.yaml').unlink()
    refused('yolo', yolo, r'no class names .*--classes')
    other = write(write_frames(yolo.parent / 'other', 1), {'classes.txt': 'bird'})
    empty = write(yolo.parent / 'empty', {'classes.txt': 'bird'})
    refused('yolo', empty, r'neither images nor video files below .*empty')
    write(yolo, {'classes.txt': 'cat\ndog'})
    refused('yolo', [yolo / 'images/cam1', other], 'name different classes')
    write(yolo, {'classes.txt': '\n'})
    refused('yolo', yolo, r'classes\.txt.*holds no class name')


@pytest.mark.parametrize('first', [0, 1])
def test_yolo_video_file(tmp_path, convert, refused, first):
    """Labels of its frames count from 0 or from 1: said, or told by the last one."""
    root = tmp_path / 'set'
    write_video(root / 'videos/cam.mp4', 4)
    rows = {f'labels/cam_{first + i}.txt': f'0 0.5 0.5 0.5 0.{i + 1} 1' for i in (0, 3)}
    write(root, {'classes.txt': 'cat', **rows})
    for _ in range(2):  # extracted, then found
        content = convert('yolo', root)
        assert frames(content) == [('videos/cam', i, f'videos/cam/{i:06d}.jpg') for i in range(4)]
        assert [row[1:] for row in boxes(content)] == [
            (0, 'cat', 1, [16, 21.6, 32, 4.8]),
            (3, 'cat', 1, [16, 14.4, 32, 19.2]),
        ]
    for name in rows:
        (root / name).unlink()
    write(root, {'labels/cam_2.txt': '0 .5 .5 .5 .5'})
    refused('yolo', root, r'may count from 0 or from 1.*--first-frame')
    assert [row[1] for row in boxes(convert('yolo', root, first_frame=first))] == [2 - first]
    write(root, {'labels/cam_9.txt': ''})
    refused('yolo', root, r'cam_9\.txt is label 9 of .*cam, which has 4 frames')


ODD = ['yes', 'No', 'null', '007', '12:30', '1e3', '~', '2024-01-01', 'on', 'true', '0x1F']


@pytest.mark.parametrize(
    ('name', 'text', 'expected'),
    [
        ('obj.names', 'cat\n\ndog\n', ['cat', 'dog']),
        ('labels/classes.txt', 'cat\ndog', ['cat', 'dog']),
        ('data.yaml', f'names: [{", ".join(ODD)}]', ODD),
        ('data.yaml', 'names: ["say \\"hi\\"", \'it\'\'s\'] # quoted\n', ['say "hi"', "it's"]),
    ],
)
def test_names_are_taken_as_they_are_written(tmp_path, convert, name, text, expected):
    root = write_frames(tmp_path / 'v', 1)
    write(root, {name: text, '000000.txt': '1 .5 .5 .5 .5'})
    assert names(convert('yolo', root)) == expected


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('names: [helmet, vest, helmet]', r"numbers 0 and 2 have one name, 'helmet'"),
        ('names: {0: a, 0: b}', 'line 1: the number 0 has two names'),
        ('names: {0: a, 2: b}', '`names` must be'),
        ('names: [a]\nnames: [b]', 'found 2 times'),
        ('names: [a, [b]]', 'line 1: `names` must be'),
    ],
)
def test_names_that_cannot_be_are_one_sentence(yolo, refused, text, told):
    write(yolo, {'data.yaml': text})
    refused('yolo', yolo, rf'data\.yaml.*{told}')


def voc(*objects, size=(64, 48)):
    sides = f'<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>'
    return f'<annotation><filename>x.jpg</filename>{sides}{"".join(objects)}</annotation>'


def voc_object(name, box, more=''):
    sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    inner = ''.join(f'<{side}>{value}</{side}>' for side, value in sides)
    return f'<object><name>{name}</name>{more}<bndbox>{inner}</bndbox></object>'


OF_CVAT = '<attributes><attribute><name>track_id</name><value>5</value></attribute></attributes>'


def test_voc(tmp_path, convert, refused):
    root = tmp_path / 'voc'
    write_frames(root / 'JPEGImages/v', 3)
    zebra = voc_object('zebra', (1, 2, 11, 12), '<trackid>5</trackid><occluded>1</occluded>')
    later = voc_object('zebra', (2, 2, 12, 12), OF_CVAT)
    ant = voc_object('ant', (0.5, 2, 4.75, 12), '<difficult>1</difficult>')
    bee = voc_object('bee', (0, 0, 5, 5), '<difficult>0</difficult>')
    files = {'000000': voc(zebra, ant), '000002': voc(later, bee, size=(0, 0))}
    write(root, {f'Annotations/v/{stem}.xml': text for stem, text in files.items()})
    content = convert('voc', root)
    assert names(content) == ['bee', 'zebra']  # an ant is always difficult
    assert boxes(content) == [
        ('JPEGImages/v', 0, 'zebra', 1, [1, 2, 10, 10]),
        ('JPEGImages/v', 2, 'zebra', 1, [2, 2, 10, 10]),
        ('JPEGImages/v', 2, 'bee', None, [0, 0, 5, 5]),
    ]
    assert [a['occluded'] for a in content['annotations']] == [True, False, False]
    content = convert('voc', root, classes=['zebra', 'ant'])
    assert boxes(content)[1] == ('JPEGImages/v', 0, 'ant', None, [0.5, 2, 4.25, 10])
    assert [a['iscrowd'] for a in content['annotations']] == [False, True, False]
    write(root, {'Annotations/v/000000.xml': voc(size=(32, 48))})
    refused('voc', root, r'000000\.xml is for 32x48 .*000000\.jpg has 64x48')
