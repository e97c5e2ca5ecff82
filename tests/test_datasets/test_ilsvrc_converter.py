"""ILSVRC conversion: the golden files byte for byte, a small tree by hand, every error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmdet.core.errors import ILSVRCError
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS
from mmdet.programs.convert.ilsvrc import convert_det, convert_vid
from mmdet.programs.convert.ilsvrc_lists import read_train_videos
from mmdet.programs.convert.summary import Summary

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


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def vid_files(lists='ImageSets'):
    def xml(video, frame, *objects, **kwargs):
        return f'Annotations/VID/{video}/{frame:06d}.xml', annotation(*objects, **kwargs)

    return {
        f'{lists}/VID_train_15frames.txt': f'{VIDEO_B} 1 2 2\n\n{VIDEO_A} 1 0 3\n{VIDEO_B} 1 1 2\n',
        f'{lists}/VID_val_videos.txt': f'{VIDEO_V} 7 0 1\n',
        **dict(
            [
                xml(VIDEO_B, 0, box(PERSON, (1, 2, 3, 4), 9), box(BEAR, (1, 2, 11, 22), 4)),
                xml(VIDEO_B, 1, size=(64, 48)),
                xml(VIDEO_A, 0, box(ZEBRA, (5, 5, 5, 9), 4, occluded=1)),
                xml(VIDEO_A, 1, box(BEAR, (0, 0, 64, 48), 0, generated=1)),
                xml(VIDEO_A, 2, box(BEAR, (0, 0, 63, 47), 0), box(ZEBRA, (6, 6, 8, 8), 4)),
                xml(VIDEO_A, 3),  # beyond the three frames of the list: not converted
                xml(VIDEO_V, 0, size=(32, 24)),
            ]
        ),
    }


def det_files(lists='ImageSets'):
    train = 'Annotations/DET/train'
    return {
        f'{lists}/DET_train_30classes.txt': 'train/ILSVRC2014_train_0003/c 1\n'
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


def outcome(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize('kind', ['vid', 'det'])
@pytest.mark.parametrize('workers', [1, 2])
def test_golden_files_byte_for_byte(shared, tmp_path, kind, workers):
    CONVERT[kind](shared / 'golden/convert/ILSVRC', tmp_path, workers=workers)
    for name in OUTPUTS[kind]:
        expected = shared / 'golden/convert' / f'expected_{name}'
        assert (tmp_path / name).read_bytes() == expected.read_bytes()
    assert outcome(tmp_path) == sorted(OUTPUTS[kind])


@pytest.mark.parametrize('lists', ['ImageSets', 'Lists'])
def test_small_videos_by_hand(tmp_path, lists):
    write(tmp_path / 'in', vid_files(lists))
    convert_vid(tmp_path / 'in', tmp_path / 'out', workers=1)
    train = json.loads((tmp_path / 'out/imagenet_vid_train.json').read_text())
    val = json.loads((tmp_path / 'out/imagenet_vid_val.json').read_text())
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
    images = [tuple(image[field] for field in fields) for image in train['images']]
    assert images == [
        (1, 1, 0, True),
        (2, 1, 1, True),
        (3, 2, 0, False),
        (4, 2, 1, False),
        (5, 2, 2, False),
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
    assert (
        flags
        == [(False, False, False), (True, False, False), (False, True, False)]
        + [(False, False, False)] * 2
    )


@pytest.mark.parametrize('lists', ['ImageSets', 'Lists'])
def test_small_images_by_hand(tmp_path, lists):
    write(tmp_path / 'in', det_files(lists))
    convert_det(tmp_path / 'in', tmp_path / 'out', workers=1)
    det = json.loads((tmp_path / 'out/imagenet_det_30plus1cls.json').read_text())
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


def test_unlisted_images_are_sorted_on_any_file_system(tree, tmp_path, monkeypatch):
    write(
        tree, {f'Annotations/DET/train/ILSVRC2014_train_0000/{n}.xml': annotation() for n in 'ba'}
    )
    listdir = os.listdir
    monkeypatch.setattr(os, 'listdir', lambda path: sorted(listdir(path), reverse=True))
    convert_det(tree, tmp_path / 'out', workers=1)
    det = json.loads((tmp_path / 'out/imagenet_det_30plus1cls.json').read_text())
    assert [Path(i['file_name']).stem for i in det['images'][3:]] == ['n01_10', 'a', 'b', 'd']


def test_image_sets_come_before_lists(tree, tmp_path):
    write(tree, {'Lists/VID_val_videos.txt': 'val/other 1 0 1\n'})
    convert_vid(tree, tmp_path / 'out', splits=['val'], workers=1)
    val = json.loads((tmp_path / 'out/imagenet_vid_val.json').read_text())
    assert [video['name'] for video in val['videos']] == [VIDEO_V]


FRAME = f'Annotations/VID/{VIDEO_A}/000001.xml'
ROW = rf"asked for by row 3 of \S+VID_train_15frames.txt \('{VIDEO_A} 1 0 3'\)"
XML_ERRORS = {
    'missing': (None, rf'{FRAME} is missing; {ROW}'),
    'cut off': ('<annotation><size>', rf'{FRAME} is not well-formed XML: no element.*; {ROW}'),
    'empty': ('', rf'{FRAME} is not well-formed XML.*; {ROW}'),
    'no size': ('<annotation/>', rf'{FRAME}: <annotation> has no <size/width>; {ROW}'),
    'zero size': (annotation(size=(0, 48)), rf'{FRAME}: <size> is 0 x 48; {ROW}'),
    'no box': (
        annotation('<object><trackid>0</trackid><name>x</name></object>'),
        rf'{FRAME}: <object> has no <bndbox/xmin>; {ROW}',
    ),
    'not a number': (
        annotation(box(BEAR, (1, 'nan', 3, 4), 0)),
        rf"{FRAME}: <bndbox/ymin> of <object> is 'nan', not a whole number; {ROW}",
    ),
    'too large': (
        annotation(box(BEAR, (1, 1, 10**30, 4), 0)),
        rf'{FRAME}: <bndbox/xmax> .*0, more than 2147483647; {ROW}',
    ),
    'no track': (
        annotation(box(BEAR, (1, 2, 3, 4))),
        rf'{FRAME}: <object> has no <trackid>; {ROW}',
    ),
    'no name': (annotation(box('', (1, 2, 3, 4), 0)), rf'{FRAME}: <object> has no <name>; {ROW}'),
    'no flag': (
        annotation(box(BEAR, (1, 2, 3, 4), 0, occluded='')),
        rf'{FRAME}: <object> has no <occluded>; {ROW}',
    ),
}


@pytest.mark.parametrize('case', XML_ERRORS)
def test_a_bad_xml_is_named_with_its_row(tree, tmp_path, case):
    text, message = XML_ERRORS[case]
    if text is None:
        (tree / FRAME).unlink()
    else:
        (tree / FRAME).write_text(text)
    with pytest.raises(ILSVRCError, match=message):
        convert_vid(tree, tmp_path / 'out', splits=['train'], workers=1)
    assert outcome(tmp_path / 'out') == []


def test_a_folder_in_place_of_a_file(tree, tmp_path):
    (tree / FRAME).unlink()
    (tree / FRAME).mkdir()
    with pytest.raises(ILSVRCError, match=rf'{FRAME} cannot be read: Is a directory; {ROW}'):
        convert_vid(tree, tmp_path / 'out', workers=1)


def test_the_first_error_in_list_order_from_worker_processes(tree, tmp_path):
    (tree / FRAME).unlink()
    (tree / f'Annotations/VID/{VIDEO_B}/000001.xml').write_text('<a>')
    with pytest.raises(ILSVRCError, match=r'b/000001.xml is not well-formed XML'):
        convert_vid(tree, tmp_path / 'out', workers=2)
    assert outcome(tmp_path / 'out') == []


def test_an_error_keeps_the_earlier_output(tree, tmp_path):
    convert_vid(tree, tmp_path / 'out', workers=1)
    before = {name: (tmp_path / 'out' / name).read_bytes() for name in OUTPUTS['vid']}
    (tree / FRAME).unlink()
    with pytest.raises(ILSVRCError):
        convert_vid(tree, tmp_path / 'out', workers=1)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / 'out').iterdir()}


def test_frames_are_checked_when_data_is_here(tree, tmp_path):
    write(tree, {f'Data/VID/{VIDEO_V}/000000.JPEG': ''})
    convert_vid(tree, tmp_path / 'out', splits=['val'], workers=1)
    message = (
        rf"Data/VID/{VIDEO_B}/000000.JPEG is missing; asked for by row 1 of .*'{VIDEO_B} 1 2 2'"
    )
    with pytest.raises(ILSVRCError, match=message):
        convert_vid(tree, tmp_path / 'out', splits=['train'], workers=1)


def test_det_errors(tree, tmp_path):
    listed = tree / 'Annotations/DET/train/ILSVRC2014_train_0003/c.xml'
    other = tree / 'Annotations/DET/train/ILSVRC2014_train_0000/d.xml'
    other.write_text('<annotation>')
    with pytest.raises(ILSVRCError, match=r'0000/d.xml is not .*; an image that no list row names'):
        convert_det(tree, tmp_path / 'out', workers=1)
    listed.unlink()
    with pytest.raises(ILSVRCError, match=r'0003/c.xml is missing; asked for by row 1 of .*c 1'):
        convert_det(tree, tmp_path / 'out', workers=1)
    write(tree, {'Annotations/DET/train/ILSVRC2014_train_0001': 'a file'})
    with pytest.raises(ILSVRCError, match=r'Cannot list .*0001: Not a directory'):
        convert_det(tree, tmp_path / 'out', workers=1)
    assert outcome(tmp_path / 'out') == []


ROW_ERRORS = {
    f'{VIDEO_A} 1 x 3': 'expected a name and 3 whole numbers',
    f'{VIDEO_A} 1 2.0 3': 'expected a name and 3 whole numbers',
    f'{VIDEO_A} 1 2': 'expected a name and 3 whole numbers',
    VIDEO_A: 'expected a name and 3 whole numbers',
    f'{VIDEO_A} 1 2 3 4': 'expected a name and 3 whole numbers',
    f'{VIDEO_A} 1 4 3': 'frame 4 is not in 0..3',
    f'{VIDEO_A} 1 -1 3': 'frame -1 is not in 0..3',
    f'{VIDEO_A} 1 0 0': 'needs at least one frame, got 0',
    f'{VIDEO_B} 1 1 9': f'{VIDEO_B} has 9 frames here, but 2 in row 1 of ',
    '../a 1 1 3': "'../a' is not a plain path",
    '/a 1 1 3': "'/a' is not a plain path",
}


@pytest.mark.parametrize('row', ROW_ERRORS)
def test_a_bad_row_is_named(tmp_path, row):
    write(tmp_path, {'list.txt': f'{VIDEO_B} 1 2 2\n{row}\n'})
    with pytest.raises(ILSVRCError) as error:
        read_train_videos(tmp_path / 'list.txt')
    assert str(error.value).startswith(f"row 2 of {tmp_path / 'list.txt'} ('{row}'): ")
    assert ROW_ERRORS[row] in str(error.value)


def test_a_video_listed_twice_for_validation(tree, tmp_path):
    write(tree, {'ImageSets/VID_val_videos.txt': f'{VIDEO_V} 1 0 1\n{VIDEO_V} 2 0 1\n'})
    with pytest.raises(ILSVRCError, match=r'row 2 .*val/v is listed already in row 1'):
        convert_vid(tree, tmp_path / 'out', workers=1)
    assert outcome(tmp_path / 'out') == []  # all lists are read before the first XML


@pytest.mark.parametrize(
    ('content', 'message'), [(b' \n', 'is empty'), (b'\xff', 'cannot be read')]
)
def test_unusable_lists(tree, tmp_path, content, message):
    (tree / 'ImageSets/VID_val_videos.txt').write_bytes(content)
    with pytest.raises(ILSVRCError, match=message):
        convert_vid(tree, tmp_path / 'out', workers=1)


def test_unknown_layouts(tree, tmp_path):
    with pytest.raises(ILSVRCError, match=r'Unknown layout.*Did you mean \S+/ILSVRC\?'):
        convert_vid(tmp_path, tmp_path / 'out')
    with pytest.raises(ILSVRCError, match=r'no folder \S+/nothing/Annotations/DET'):
        convert_det(tmp_path / 'nothing', tmp_path / 'out')
    (tree / 'ImageSets/VID_val_videos.txt').unlink()
    with pytest.raises(ILSVRCError, match=r'neither .*ImageSets/VID_val.* nor .*Lists/VID_val'):
        convert_vid(tree, tmp_path / 'out')
    assert outcome(tmp_path / 'out') == []


def test_command_line(repo, tree, tmp_path):
    def run(kind):
        script = repo / f'tools/convert_datasets/ilsvrc/imagenet2coco_{kind}.py'
        command = [sys.executable, str(script), '-i', str(tree), '-o', str(tmp_path / 'out')]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    vid, det = run('vid'), run('det')
    assert vid.returncode == det.returncode == 0, vid.stderr + det.stderr
    assert '5 files' in vid.stdout and 'bear' in vid.stdout and 'other_categeries' in det.stdout
    assert outcome(tmp_path / 'out') == sorted(OUTPUTS['vid'] + OUTPUTS['det'])
    (tree / FRAME).unlink()
    failed = run('vid')
    assert failed.returncode == 1
    assert failed.stderr.count('\n') == 1 and failed.stderr.startswith('error: ')
    assert 'a/000001.xml is missing; asked for by row 3 of' in failed.stderr


def test_summary_counts_and_survives_empty_classes():
    summary = Summary(['a', 'b', 'c'])
    for video, image, category in [(1, 1, 1), (1, 1, 1), (1, 2, 1), (2, 3, 1), (2, 3, 3)]:
        summary.add_box(video, image, category, has_area=True)
    summary.add_frames(5, videos=3)
    assert summary.rows() == [('a', 2, 3, 4), ('c', 1, 1, 1), ('total', 3, 5, 5)]


def test_class_table():
    assert len(IMAGENET_VID_CLASSES) == len(set(IMAGENET_VID_WNIDS)) == 30
    assert IMAGENET_VID_CLASSES == tuple(sorted(IMAGENET_VID_CLASSES))
    pairs = dict(zip(IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS, strict=True))
    assert (pairs['airplane'], pairs['domestic_cat'], pairs['zebra']) == (
        'n02691156',
        'n02121808',
        'n02391049',
    )
