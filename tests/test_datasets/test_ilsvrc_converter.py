"""ILSVRC conversion: the golden files byte for byte, a small tree by hand, every error."""

import json
from pathlib import Path

import pytest
from own_data import write

from mmdet.core.errors import ConversionError
from mmdet.programs.convert import convert_det, convert_vid

OUTPUTS = {
    'vid': ('imagenet_vid_train.json', 'imagenet_vid_val.json'),
    'det': ('imagenet_det_30plus1cls.json',),
}
CONVERT = {'vid': convert_vid, 'det': convert_det}
BEAR, ZEBRA, PERSON = 'n02131653', 'n02391049', 'n00007846'
VIDEO_A, VIDEO_B = 'train/ILSVRC2015_VID_train_0000/a', 'train/ILSVRC2015_VID_train_0001/b'
VIDEO_V = 'val/v'
DET = 'Annotations/DET/train'


def box(name, sides, track=None, occluded=0, generated=0):
    names = ('xmin', 'ymin', 'xmax', 'ymax')
    sides = ''.join(f'<{name}>{value}</{name}>' for name, value in zip(names, sides, strict=True))
    vid = f'<occluded>{occluded}</occluded><generated>{generated}</generated>'
    tracked = ('', '') if track is None else (f'<trackid>{track}</trackid>', vid)
    start, end = tracked
    return f'<object>{start}<name>{name}</name><bndbox>{sides}</bndbox>{end}</object>'


def annotation(*objects, size=(64, 48)):
    sides = f'<width>{size[0]}</width><height>{size[1]}</height>'
    return f'<annotation><size>{sides}</size>{"".join(objects)}</annotation>'


def vid_files(lists='ImageSets'):
    frames = {
        f'{VIDEO_B}/000000': annotation(box(PERSON, (1, 2, 3, 4), 9), box(BEAR, (1, 2, 11, 22), 4)),
        f'{VIDEO_B}/000001': annotation(),
        f'{VIDEO_A}/000000': annotation(box(ZEBRA, (5, 5, 5, 9), 4, occluded=1)),
        f'{VIDEO_A}/000001': annotation(box(BEAR, (0, 0, 64, 48), 0, generated=1)),
        f'{VIDEO_A}/000002': annotation(box(BEAR, (0, 0, 63, 47), 0), box(ZEBRA, (6, 6, 8, 8), 4)),
        f'{VIDEO_A}/000003': annotation(),  # beyond the three frames of the list: not converted
        f'{VIDEO_V}/000000': annotation(size=(32, 24)),
    }
    rows = f'{VIDEO_B} 1 2 2\n\n{VIDEO_A} 1 0 3\n{VIDEO_B} 1 1 2\n'
    return {f'Annotations/VID/{name}.xml': text for name, text in frames.items()} | {
        f'{lists}/VID_train_15frames.txt': rows,
        f'{lists}/VID_val_videos.txt': f'{VIDEO_V} 7 0 1\n',
    }


def det_files():
    return {
        'ImageSets/DET_train_30classes.txt': 'train/ILSVRC2014_train_0003/c 1\n',
        f'{DET}/ILSVRC2014_train_0003/c.xml': annotation(box(BEAR, (1, 1, 3, 4))),
    }


@pytest.fixture
def tree(tmp_path):
    return write(tmp_path / 'ILSVRC', vid_files() | det_files())


def outcome(folder: Path) -> dict[str, dict]:
    """The files of a conversion by name, in order."""
    files = sorted(folder.iterdir()) if folder.exists() else []
    return {path.name: json.loads(path.read_text()) for path in files}


@pytest.mark.parametrize(('kind', 'workers'), [('vid', 2), ('det', 1)])
def test_golden_files_byte_for_byte(shared, tmp_path, kind, workers):
    CONVERT[kind](shared / 'golden/convert/ILSVRC', tmp_path, workers=workers)
    for name in OUTPUTS[kind]:
        expected = shared / 'golden/convert' / f'expected_{name}'
        assert (tmp_path / name).read_bytes() == expected.read_bytes()


def test_small_videos_by_hand(tmp_path):
    write(tmp_path / 'in', vid_files('Lists'))
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
    entry = dict(file_name=f'{VIDEO_V}/000000.JPEG', height=24, width=32, id=1, frame_id=0)
    assert val['images'] == [entry | dict(video_id=1, is_vid_train_frame=False)]
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
    none = (False, False, False)
    assert flags == [none, (True, False, False), (False, True, False), none, none]


FRAME = f'Annotations/VID/{VIDEO_A}/000001.xml'
LISTED = f'{DET}/ILSVRC2014_train_0003/c.xml'
TRAIN, VAL = 'ImageSets/VID_train_15frames.txt', 'ImageSets/VID_val_videos.txt'
ROW = rf".*; asked for by row 3 of \S+VID_train_15frames.txt \('{VIDEO_A} 1 0 3'\)"
TWICE = f'{VIDEO_V} 1 0 1\n{VIDEO_V} 2 0 1\n'
GONE = None


def bear(*sides, **more):
    return annotation(box(BEAR, sides, **more))


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        (FRAME, GONE, f'{FRAME} is missing{ROW}'),
        (FRAME, '<annotation><size>', f'{FRAME} is not well-formed XML{ROW}'),
        (FRAME, bear(1, 'nan', 3, 4, track=0), "<bndbox/ymin> .* 'nan', not a whole number"),
        (FRAME, bear(1, 2, 3, 4), f'{FRAME}: <object> has no <(trackid|occluded)>'),
        (TRAIN, f'{VIDEO_A} 1 x 3', f"row 1 of .*{VIDEO_A} 1 x 3'.: .* name and 3 whole numbers"),
        (TRAIN, f'{VIDEO_A} 1 4 3', 'frame 4 is not in 0..3'),
        (TRAIN, f'{VIDEO_A} 1 0 0', 'needs at least one frame, got 0'),
        (VAL, ' \n', 'is empty'),
        (FRAME, annotation(size=(0, 48)), f'{FRAME}: <size> is 0 x 48{ROW}'),
        (TRAIN, '../a 1 1 3', "'../a' is not a plain path"),
        (VAL, TWICE, r'row 2 .*v is listed already in row 1'),
        (VAL, GONE, r'neither .*ImageSets/VID_val.* nor .*Lists/VID_val'),
        (f'Data/VID/{VIDEO_B}/000001.JPEG', '', f'{VIDEO_B}/000000.JPEG is missing; .* by row 1 '),
        (LISTED, '<a>', r'c.xml is not .*; asked for by row 1 of .*c 1'),
    ],
)
def test_a_fault_is_named_and_an_earlier_conversion_stays(tree, tmp_path, name, text, message):
    kind, out = 'det' if 'DET' in name else 'vid', tmp_path / 'out'
    write(out, {'imagenet_vid_train.json': '{}'})
    if text is GONE:
        (tree / name).unlink()
    else:
        write(tree, {name: text})
    with pytest.raises(ConversionError, match=message):
        CONVERT[kind](tree, out, workers=1)
    assert outcome(out) == {'imagenet_vid_train.json': {}}


def test_an_unknown_layout(tmp_path, tree):
    with pytest.raises(ConversionError, match=r'Unknown layout.*Did you mean \S+/ILSVRC\?'):
        convert_vid(tmp_path, tmp_path / 'out')
