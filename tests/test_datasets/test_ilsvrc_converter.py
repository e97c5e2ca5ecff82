"""ILSVRC conversion: the golden files byte for byte, a small tree by hand, every error."""

import json
import os
from pathlib import Path

import pytest
from own_data import run_tool, write
from rich.progress import Progress

from mmdet.core.errors import ConversionError
from mmdet.programs.convert import convert_det, convert_vid
from mmdet.programs.convert.ilsvrc import read_train_videos

OUTPUTS = {
    'vid': ('imagenet_vid_train.json', 'imagenet_vid_val.json'),
    'det': ('imagenet_det_30plus1cls.json',),
}
CONVERT = {'vid': convert_vid, 'det': convert_det}
BEAR, ZEBRA, PERSON = 'n02131653', 'n02391049', 'n00007846'
VIDEO_A, VIDEO_B = 'train/ILSVRC2015_VID_train_0000/a', 'train/ILSVRC2015_VID_train_0001/b'
VIDEO_V = 'val/v'


def box(name, sides, track=None, occluded=0, generated=0):
    xmin, ymin, xmax, ymax = sides
    vid = f'<occluded>{occluded}</occluded><generated>{generated}</generated>'
    return (
        '<object>' + (f'<trackid>{track}</trackid>' if track is not None else '') + f'<name>{name}'
        f'</name><bndbox><xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymax>{ymax}</ymax>'
        f'<ymin>{ymin}</ymin></bndbox>' + (vid if track is not None else '') + '</object>'
    )


def annotation(*objects, size=(64, 48)):
    sides = f'<width>{size[0]}</width><height>{size[1]}</height>'
    return f'<annotation><size>{sides}</size>{"".join(objects)}</annotation>'


def vid_files(lists='ImageSets'):
    def xml(video, frame):
        return f'Annotations/VID/{video}/{frame:06d}.xml'

    return {
        f'{lists}/VID_train_15frames.txt': f'{VIDEO_B} 1 2 2\n\n{VIDEO_A} 1 0 3\n{VIDEO_B} 1 1 2\n',
        f'{lists}/VID_val_videos.txt': f'{VIDEO_V} 7 0 1\n',
        xml(VIDEO_B, 0): annotation(box(PERSON, (1, 2, 3, 4), 9), box(BEAR, (1, 2, 11, 22), 4)),
        xml(VIDEO_B, 1): annotation(),
        xml(VIDEO_A, 0): annotation(box(ZEBRA, (5, 5, 5, 9), 4, occluded=1)),
        xml(VIDEO_A, 1): annotation(box(BEAR, (0, 0, 64, 48), 0, generated=1)),
        xml(VIDEO_A, 2): annotation(box(BEAR, (0, 0, 63, 47), 0), box(ZEBRA, (6, 6, 8, 8), 4)),
        xml(VIDEO_A, 3): annotation(),  # beyond the three frames of the list: not converted
        xml(VIDEO_V, 0): annotation(size=(32, 24)),
    }


def det_files():
    train = 'Annotations/DET/train'
    return {
        'ImageSets/DET_train_30classes.txt': 'train/ILSVRC2014_train_0003/c 1\n'
        'train/ILSVRC2013_train/n01/n01_9 1\ntrain/ILSVRC2014_train_0003/c 1\n',
        f'{train}/ILSVRC2014_train_0003/c.xml': annotation(box(BEAR, (1, 1, 3, 4))),
        f'{train}/ILSVRC2014_train_0000/d.xml': annotation(box(PERSON, (0, 0, 9, 9))),
        f'{train}/ILSVRC2013_train/n01/n01_9.xml': annotation(size=(10, 20)),
        f'{train}/ILSVRC2013_train/n01/n01_10.xml': annotation(box(ZEBRA, (2, 2, 4, 4))),
        f'{train}/ILSVRC2014_train_0007/e.xml': annotation(),  # not one of the parts 0 to 6
    }


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / 'ILSVRC', {**vid_files(), **det_files()})
    return tmp_path / 'ILSVRC'


def outcome(folder: Path) -> dict[str, dict]:
    """The files of a conversion by name, in order."""
    files = sorted(folder.iterdir()) if folder.exists() else []
    return {path.name: json.loads(path.read_text()) for path in files}


@pytest.mark.parametrize('kind', ['vid', 'det'])
@pytest.mark.parametrize('workers', [1, 2])
def test_golden_files_byte_for_byte(shared, tmp_path, kind, workers):
    CONVERT[kind](shared / 'golden/convert/ILSVRC', tmp_path, workers=workers)
    for name in OUTPUTS[kind]:
        expected = shared / 'golden/convert' / f'expected_{name}'
        assert (tmp_path / name).read_bytes() == expected.read_bytes()
    assert tuple(outcome(tmp_path)) == OUTPUTS[kind]


@pytest.mark.parametrize('lists', ['ImageSets', 'Lists'])
def test_small_videos_by_hand(tmp_path, lists):
    write(tmp_path / 'in', vid_files(lists))
    convert_vid(tmp_path / 'in', tmp_path / 'out', workers=1)
    train, val = outcome(tmp_path / 'out').values()
    assert list(train) == ['categories', 'videos', 'images', 'annotations']
    assert train['categories'][2] == {'id': 3, 'name': 'bear', 'encode_name': BEAR}
    assert train['videos'] == [
        {'id': 1, 'name': VIDEO_B, 'vid_train_frames': [1, 0]},
        {'id': 2, 'name': VIDEO_A, 'vid_train_frames': [-1]},
    ]
    assert val['videos'] == [{'id': 1, 'name': VIDEO_V, 'vid_train_frames': []}]
    assert val['annotations'] == []
    assert val['images'] == [
        {
            'file_name': f'{VIDEO_V}/000000.JPEG',
            'height': 24,
            'width': 32,
            'id': 1,
            'frame_id': 0,
            'video_id': 1,
            'is_vid_train_frame': False,
        }
    ]
    fields = ('id', 'video_id', 'frame_id', 'is_vid_train_frame')
    assert [tuple(image[field] for field in fields) for image in train['images']] == [
        *((1, 1, 0, True), (2, 1, 1, True)),
        *((3, 2, 0, False), (4, 2, 1, False), (5, 2, 2, False)),
    ]
    # the foreign class of video b uses up neither an annotation nor an instance id
    fields = ('id', 'video_id', 'image_id', 'category_id', 'instance_id', 'bbox', 'area')
    assert [tuple(a[f] for f in fields) for a in train['annotations']] == [
        (1, 1, 1, 3, 1, [1, 2, 10, 20], 200),
        (2, 2, 3, 30, 2, [5, 5, 0, 4], 0),
        (3, 2, 4, 3, 3, [0, 0, 64, 48], 3072),
        (4, 2, 5, 3, 3, [0, 0, 63, 47], 2961),
        (5, 2, 5, 30, 2, [6, 6, 2, 2], 4),
    ]
    flags = [(a['occluded'], a['generated'], a['iscrowd']) for a in train['annotations']]
    assert flags[1:3] == [(True, False, False), (False, True, False)]
    assert {flags[i] for i in (0, 3, 4)} == {(False, False, False)}


def test_small_images_by_hand(tmp_path, monkeypatch):
    """Also where the file system lists names in another order."""
    write(tmp_path / 'in', det_files())
    listdir = os.listdir
    monkeypatch.setattr(os, 'listdir', lambda path: sorted(listdir(path), reverse=True))
    convert_det(tmp_path / 'in', tmp_path / 'out', workers=1)
    (det,) = outcome(tmp_path / 'out').values()
    assert list(det) == ['categories', 'images', 'annotations']
    assert det['categories'][30] == {'id': 31, 'name': 'other_categeries', 'encode_name': None}
    names = [(Path(i['file_name']).stem, i['is_vid_train_frame']) for i in det['images']]
    # listed rows with their repetition, then the others in string order ('n01_10' < 'n01_9')
    assert names == [('c', True), ('n01_9', True), ('c', True), ('n01_10', False), ('d', False)]
    assert det['images'][1] == {
        'file_name': 'train/ILSVRC2013_train/n01/n01_9.JPEG',
        'height': 20,
        'width': 10,
        'id': 2,
        'is_vid_train_frame': True,
    }
    assert det['annotations'] == [
        {'id': i, 'image_id': m, 'category_id': c, 'bbox': b, 'area': a, 'iscrowd': False}
        for i, m, c, b, a in [
            (1, 1, 3, [1, 1, 2, 3], 6),
            (2, 3, 3, [1, 1, 2, 3], 6),
            (3, 4, 30, [2, 2, 2, 2], 4),
            (4, 5, 31, [0, 0, 9, 9], 81),
        ]
    ]


def test_bars_on_a_terminal_follow_each_other(tree, tmp_path, monkeypatch):
    """Two at once are an error in some versions of rich."""
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setattr('mmdet.datasets.parsers.coco_video_parser._LONG', 0)
    shown = []
    start = Progress.start

    def started(self):
        assert not any(other.live.is_started for other in shown)
        shown.append(self)
        start(self)

    monkeypatch.setattr(Progress, 'start', started)
    convert_vid(tree, tmp_path / 'out', splits=['val'], workers=1)
    assert len(shown) == 2


def test_image_sets_come_before_lists(tree, tmp_path):
    write(tree, {'Lists/VID_val_videos.txt': 'val/other 1 0 1\n'})
    convert_vid(tree, tmp_path / 'out', splits=['val'], workers=1)
    (val,) = outcome(tmp_path / 'out').values()
    assert [video['name'] for video in val['videos']] == [VIDEO_V]


FRAME = f'Annotations/VID/{VIDEO_A}/000001.xml'
ROW = rf"asked for by row 3 of \S+VID_train_15frames.txt \('{VIDEO_A} 1 0 3'\)"
FOLDER = object()  # in place of the file


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, ' is missing'),
        (FOLDER, ' cannot be read: Is a directory'),
        ('<annotation><size>', ' is not well-formed XML: no element.*'),
        ('<annotation/>', ': <annotation> has no <size/width>'),
        (annotation(size=(0, 48)), ': <size> is 0 x 48'),
        (annotation('<object><name>x</name></object>'), ': <object> has no <bndbox/xmin>'),
        (
            annotation(box(BEAR, (1, 'nan', 3, 4), 0)),
            ": <bndbox/ymin> .* 'nan', not a whole number",
        ),
        (annotation(box(BEAR, (1, 1, 10**30, 4), 0)), ': <bndbox/xmax> .*0, more than 2147483647'),
        (annotation(box(BEAR, (1, 2, 3, 4))), ': <object> has no <(trackid|occluded)>'),
        (annotation(box('', (1, 2, 3, 4), 0)), ': <object> has no <name>'),
        (annotation(box(BEAR, (1, 2, 3, 4), 0, occluded='')), ': <object> has no <occluded>'),
    ],
)
def test_a_bad_xml_is_named_with_its_row(tree, tmp_path, content, message):
    """And the output of an earlier conversion stays as it was."""
    convert_vid(tree, tmp_path / 'out', splits=['train'], workers=1)
    before = outcome(tmp_path / 'out')
    (tree / FRAME).unlink()
    if content is FOLDER:
        (tree / FRAME).mkdir()
    elif content is not None:
        (tree / FRAME).write_text(content)
    with pytest.raises(ConversionError, match=f'{FRAME}{message}; {ROW}'):
        convert_vid(tree, tmp_path / 'out', splits=['train'], workers=1)
    assert outcome(tmp_path / 'out') == before


def test_the_first_error_in_list_order_from_worker_processes(tree, tmp_path):
    (tree / FRAME).unlink()
    (tree / f'Annotations/VID/{VIDEO_B}/000001.xml').write_text('<a>')
    with pytest.raises(ConversionError, match=r'b/000001.xml is not well-formed XML'):
        convert_vid(tree, tmp_path / 'out', workers=2)
    assert not outcome(tmp_path / 'out')


def test_frames_are_checked_when_data_is_here(tree, tmp_path):
    write(tree, {f'Data/VID/{VIDEO_V}/000000.JPEG': ''})
    convert_vid(tree, tmp_path / 'out', splits=['val'], workers=1)
    message = (
        rf"Data/VID/{VIDEO_B}/000000.JPEG is missing; asked for by row 1 of .*'{VIDEO_B} 1 2 2'"
    )
    with pytest.raises(ConversionError, match=message):
        convert_vid(tree, tmp_path / 'out', splits=['train'], workers=1)


def test_det_errors(tree, tmp_path):
    listed = tree / 'Annotations/DET/train/ILSVRC2014_train_0003/c.xml'
    other = tree / 'Annotations/DET/train/ILSVRC2014_train_0000/d.xml'
    other.write_text('<annotation>')
    with pytest.raises(
        ConversionError, match=r'0000/d.xml is not .*; an image that no list row names'
    ):
        convert_det(tree, tmp_path / 'out', workers=1)
    listed.unlink()
    with pytest.raises(
        ConversionError, match=r'0003/c.xml is missing; asked for by row 1 of .*c 1'
    ):
        convert_det(tree, tmp_path / 'out', workers=1)
    write(tree, {'Annotations/DET/train/ILSVRC2014_train_0001': 'a file'})
    with pytest.raises(ConversionError, match=r'Cannot list .*0001: Not a directory'):
        convert_det(tree, tmp_path / 'out', workers=1)
    assert not outcome(tmp_path / 'out')


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        (f'{VIDEO_A} 1 x 3', 'expected a name and 3 whole numbers'),
        (f'{VIDEO_A} 1 2', 'expected a name and 3 whole numbers'),
        (f'{VIDEO_A} 1 2 3 4', 'expected a name and 3 whole numbers'),
        (f'{VIDEO_A} 1 4 3', 'frame 4 is not in 0..3'),
        (f'{VIDEO_A} 1 -1 3', 'frame -1 is not in 0..3'),
        (f'{VIDEO_A} 1 0 0', 'needs at least one frame, got 0'),
        (f'{VIDEO_B} 1 1 9', f'{VIDEO_B} has 9 frames here, but 2 in row 1 of '),
        ('../a 1 1 3', "'../a' is not a plain path"),
        ('/a 1 1 3', "'/a' is not a plain path"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    write(tmp_path, {'list.txt': f'{VIDEO_B} 1 2 2\n{row}\n'})
    with pytest.raises(ConversionError) as error:
        read_train_videos(tmp_path / 'list.txt')
    assert str(error.value).startswith(f"row 2 of {tmp_path / 'list.txt'} ('{row}'): ")
    assert message in str(error.value)


def test_unusable_lists(tree, tmp_path):
    rows = f'{VIDEO_V} 1 0 1\n{VIDEO_V} 2 0 1\n'
    for content, message in ((rows, r'row 2 .*v is listed already in row 1'), (' \n', 'is empty')):
        write(tree, {'ImageSets/VID_val_videos.txt': content})
        with pytest.raises(ConversionError, match=message):
            convert_vid(tree, tmp_path / 'out', workers=1)
    assert not outcome(tmp_path / 'out')  # all lists are read before the first XML


def test_unknown_layouts(tree, tmp_path):
    with pytest.raises(ConversionError, match=r'Unknown layout.*Did you mean \S+/ILSVRC\?'):
        convert_vid(tmp_path, tmp_path / 'out')
    with pytest.raises(ConversionError, match=r'no folder \S+/nothing/Annotations/DET'):
        convert_det(tmp_path / 'nothing', tmp_path / 'out')
    (tree / 'ImageSets/VID_val_videos.txt').unlink()
    with pytest.raises(ConversionError, match=r'neither .*ImageSets/VID_val.* nor .*Lists/VID_val'):
        convert_vid(tree, tmp_path / 'out')
    assert not outcome(tmp_path / 'out')


def test_the_commands(repo, tree, tmp_path):
    def run(kind, *more):
        script = repo / f'tools/convert_datasets/ilsvrc/imagenet2coco_{kind}.py'
        return run_tool(script, '-i', tree, '-o', tmp_path / 'out', '--workers', 1, *more)

    vid, det = run('vid'), run('det')
    assert vid.returncode == det.returncode == 0, vid.stderr + det.stderr
    assert '5 files' in vid.stdout and 'bear' in vid.stdout and 'other_categeries' in det.stdout
    assert sorted(outcome(tmp_path / 'out')) == sorted(OUTPUTS['vid'] + OUTPUTS['det'])
    (tree / FRAME).unlink()
    failed = run('vid', '--splits', 'train')
    assert failed.returncode == 1
    assert failed.stderr.count('\n') == 1 and failed.stderr.startswith('error: ')
    assert 'a/000001.xml is missing; asked for by row 3 of' in failed.stderr
