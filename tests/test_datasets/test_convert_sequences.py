"""MOT Challenge and GOT-10k sequences to CocoVID: by hand, real variants, bad inputs."""

import pytest
from own_data import boxes, frames, names, write, write_frames

SEQINFO = '[Sequence]\nname=A\nimDir=img1\nframeRate=25\nseqLength={}\nimExt=.jpg\n'
META = '[METAINFO]\nurl: https://a.b/c\nanno_fps: 10Hz\nobject_class: arctic fox\nresolution: 64'


@pytest.fixture
def mot(tmp_path):
    write_frames(tmp_path / 'mot/train/A/img1', 3, first=1)
    rows = [
        '1,4,10,10,20,20,1,1,0.9',
        '3,4,12,10,20,20,1,1,0.3',  # out of order, as in the real files
        '2,4,11,10,20,20,1,1,1',
        '1,9,0,0,5,5,0,7,1',  # static person, not to be counted
        '2,5,-4,30,10,30,0,1,1',  # pedestrian not to be counted; reaches over two borders
    ]
    files = {'train/A/gt/gt.txt': '\n'.join(rows), 'train/A/seqinfo.ini': SEQINFO.format(3)}
    return write(tmp_path / 'mot', files)


def test_mot(mot, convert, capsys):
    content = convert('mot', mot)
    assert names(content) == ['pedestrian']
    assert frames(content) == [('train/A', i, f'train/A/img1/{i + 1:06d}.jpg') for i in range(3)]
    assert [row[1:] for row in boxes(content)] == [
        (0, 'pedestrian', 1, [10, 10, 20, 20]),
        (1, 'pedestrian', 1, [11, 10, 20, 20]),
        (1, 'pedestrian', 2, [0, 30, 6, 18]),
        (2, 'pedestrian', 1, [12, 10, 20, 20]),
    ]
    flags = [(a['iscrowd'], a['occluded']) for a in content['annotations']]
    assert flags == [(False, False), (False, False), (True, False), (False, True)]
    assert 'static_person (1)' in capsys.readouterr().out
    assert len(boxes(convert('mot', mot, classes=['static_person', 'pedestrian']))) == 5
    for fps, keys in ((12.5, [0, 2]), (100, [0, 1, 2])):
        (video,) = convert('mot', mot / 'train/A', fps=fps)['videos']
        assert video == {'id': 1, 'name': 'A', 'vid_train_frames': keys}


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('seqinfo.ini', SEQINFO.format(4), r'seqinfo\.ini says seqLength=4, .*img1 has 3 frames'),
        ('seqinfo.ini', 'name=A', r'seqinfo\.ini is no seqinfo\.ini with a \[Sequence\]'),
        ('gt/gt.txt', '4,1,0,0,9,9', r'row 1 of .*gt\.txt: frame 4 is not in 1\.\.3'),
        ('gt/gt.txt', '1,1,0,0,9', r'row 1 of .*gt\.txt: 5 columns'),
        ('gt/gt.txt', '\n1,1,0,0,9,x', r"row 2 of .*column 6 is 'x'"),
        ('gt/gt.txt', '1,1,0,0,9,9,1,15,1', r'class 15 is not in 1\.\.13 .*gt/labels\.txt'),
        ('gt/gt.txt', '2,4,1,1,9,9\n2,4,5,5,9,9', r'row 2 of .*: the track 4 is already'),
    ],
)
def test_mot_bad_files(mot, refused, name, text, message):
    refused('mot', write(mot, {f'train/A/{name}': text}), message)


def test_mot_missing_parts(refused, tmp_path):
    write(tmp_path, {'A/gt/gt.txt': '1,1,0,0,9,9', 'B/note.txt': ''})
    refused('mot', tmp_path / 'A', r'neither a folder of images nor a video file .*img1')
    refused('mot', tmp_path / 'B', r'no gt/gt\.txt in or below .*B')


def got10k(root, rows, **files):
    write_frames(root, 3, first=1)
    texts = {'groundtruth': '\n'.join(rows), 'meta_info': META} | files
    endings = dict(groundtruth='txt', meta_info='ini', absence='label', cover='label')
    return write(root, {f'{name}.{endings[name]}': text for name, text in texts.items()})


def test_got10k(tmp_path, convert):
    root = tmp_path / 'got'
    rows = ['1.0000,2.0000,10.5000,10.0000', '2,2,10,10', '3,2,10,10']
    got10k(root / 'train/T_1', rows, absence='0\n1\n0\n', cover='4\n0\n3\n')
    got10k(root / 'train/T_2', ['5\t5\t9\t9'] * 3, meta_info=META.replace('arctic fox', 'bear'))
    content = convert('got10k', root)
    assert names(content) == ['arctic fox', 'bear']
    assert boxes(content)[:3] == [
        ('train/T_1', 0, 'arctic fox', 1, [1, 2, 10.5, 10]),
        ('train/T_1', 2, 'arctic fox', 1, [3, 2, 10, 10]),
        ('train/T_2', 0, 'bear', 2, [5, 5, 9, 9]),
    ]
    assert [a['occluded'] for a in content['annotations'][:3]] == [False, True, False]
    assert frames(content)[0] == ('train/T_1', 0, 'train/T_1/000001.jpg')
    (video,) = convert('got10k', root / 'train/T_1', fps=5)['videos']
    assert video == {'id': 1, 'name': 'T_1', 'vid_train_frames': [0, 2]}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(groundtruth='1,2,3,4'), r'truth\.txt has 1 rows, but .* 3 frames.* Test sequences'),
        (dict(groundtruth='1,2,3\n' * 3), r'row 1 of .*groundtruth\.txt: 3 columns'),
        (dict(absence='0\n1\n'), r'absence\.label has 2 rows, but groundtruth\.txt .* has 3'),
        (dict(cover='8\nx\n8\n'), r"row 2 of .*cover\.label: the label is 'x'"),
        (dict(meta_info='[METAINFO]\n'), r'meta_info\.ini does not give the class'),
    ],
)
def test_got10k_bad_files(tmp_path, refused, change, message):
    refused('got10k', got10k(tmp_path / 'T', ['1,2,3,4'] * 3, **change), message)
