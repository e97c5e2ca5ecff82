"""Conversion to CocoVID whatever the format: splits, key frames, classes, round trips, command."""

import json
import sys

import numpy as np
import pytest
from own_data import (
    GOOD_BOX,
    GOOD_IMAGE,
    annotation,
    boxes,
    coco,
    convert,
    frames,
    image,
    names,
    run_tool,
    write,
    write_frames,
    yolo_set,
)
from tiny_cocovid import ANNOTATIONS, LOAD, PACK, write_video_set

from mmdet.core.errors import ConversionError
from mmdet.datasets import CocoVideoDataset
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.convert.convert import ConvertOptions, to_cocovid

TOOL = 'tools/convert_datasets/to_cocovid.py'


@pytest.fixture
def yolo(tmp_path):
    return yolo_set(tmp_path / 'yolo')


# --- splits, key frames, classes, boxes ----------------------------------------------------------


@pytest.fixture
def ten(tmp_path):
    """Ten YOLO videos of one frame, v0 to v9."""
    root = tmp_path / 'ten'
    for i in range(10):
        write(write_frames(root / f'v{i}', 1), {'000000.txt': f'{i % 2} 0.5 0.5 0.5 0.5'})
    return write(root, {'classes.txt': 'cat\ndog'})


def split(ten, tmp_path, **options):
    paths = to_cocovid('yolo', [ten], tmp_path / 'out.json', ConvertOptions(**options))
    assert [path.name for path in paths] == sorted(path.name for path in paths)
    contents = [json.loads(path.read_text()) for path in paths]
    return {
        path.stem: {video['name'] for video in content['videos']}
        for path, content in zip(paths, contents, strict=True)
    }, contents


def test_split_by_fraction(ten, tmp_path):
    parts, (train, val) = split(ten, tmp_path, val_fraction=0.3)
    assert len(parts['out_val']) == 3 and len(parts['out_train']) == 7
    assert parts['out_val'] | parts['out_train'] == {f'v{i}' for i in range(10)}
    assert names(train) == names(val) == ['cat', 'dog']
    assert all(video['vid_train_frames'] == [0] for video in train['videos'])
    assert all(video['vid_train_frames'] == [] for video in val['videos'])
    assert not any(image['is_vid_train_frame'] for image in val['images'])
    for content in (train, val):  # each numbers from 1
        assert [image['id'] for image in content['images']] == [
            *range(1, len(content['images']) + 1)
        ]
    assert split(ten, tmp_path, val_fraction=0.3)[0] == parts
    others = [split(ten, tmp_path, val_fraction=0.3, seed=seed)[0] for seed in range(1, 4)]
    assert any(other != parts for other in others)


def test_split_by_fraction_keeps_both_parts(ten, tmp_path):
    assert len(split(ten, tmp_path, val_fraction=0.001)[0]['out_val']) == 1
    assert len(split(ten, tmp_path, val_fraction=0.999)[0]['out_train']) == 1
    for fraction in (0, 1, -0.1):
        with pytest.raises(ConversionError, match='between 0 and 1'):
            split(ten, tmp_path, val_fraction=fraction)
    options = ConvertOptions(val_fraction=0.5)
    with pytest.raises(ConversionError, match='divides whole videos, and there is only 1'):
        to_cocovid('yolo', [ten / 'v0'], tmp_path / 'out.json', options)


def test_split_by_file(ten, tmp_path):
    rows = [f'train v{i}' for i in range(8)] + ['', 'val v8', 'val  v9 ']
    path = tmp_path / 'split.txt'
    path.write_text('\n'.join(rows))
    assert split(ten, tmp_path, split_file=path)[0]['out_val'] == {'v8', 'v9'}
    for row, message in [
        ('test v9', 'row 12 .*expected "train VIDEO" or "val VIDEO"'),
        ('val v8', 'row 12 .*has a row already'),
        ('val v10', 'row 12 .*no such video'),
    ]:
        path.write_text('\n'.join([*rows, row]))
        with pytest.raises(ConversionError, match=message):
            split(ten, tmp_path, split_file=path)
    path.write_text('\n'.join(rows[:-2]))
    with pytest.raises(ConversionError, match='no row for 2 of 10 videos: v8, v9'):
        split(ten, tmp_path, split_file=path)


def test_an_error_leaves_no_file_of_a_split(ten, tmp_path):
    write(ten, {'v9/000000.txt': 'x'})
    with pytest.raises(ConversionError):
        split(ten, tmp_path, val_fraction=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ['ten']


def test_key_frames(tmp_path):
    root = write_frames(tmp_path / 'v', 7)
    write(root, {'classes.txt': 'cat', '000000.txt': '0 .5 .5 .5 .5'})

    def keys(**options):
        return convert('yolo', root, tmp_path / 'o.json', **options)['videos'][0][
            'vid_train_frames'
        ]

    assert keys() == [0, 1, 2, 3, 4, 5, 6]
    assert keys(every=3) == [0, 3, 6]
    assert keys(every=100) == [0]
    assert keys(val=True) == []
    with pytest.raises(ConversionError, match=r'frame rate of v is not known.*--every N'):
        keys(fps=1)
    with pytest.raises(ConversionError, match='--every must be at least 1'):
        keys(every=0)
    with pytest.raises(ConversionError, match='--fps must be positive'):
        keys(fps=0.0)


def test_selected_classes(yolo, tmp_path):
    content = convert('yolo', yolo, tmp_path / 'out.json', classes=['dog'])
    assert content['categories'] == [{'id': 1, 'name': 'dog'}]
    assert [(row[0], row[3]) for row in boxes(content)] == [
        ('images/cam1', 1),
        ('images/cam1', 1),
        ('images/sub/cam2', 2),  # the cat uses up no instance id
    ]
    assert [a['id'] for a in content['annotations']] == [1, 2, 3]
    content = convert('yolo', yolo, tmp_path / 'out.json', classes=['dog', 'cat'])
    assert [a['category_id'] for a in content['annotations']] == [1, 2, 1, 1]
    with pytest.raises(ConversionError, match=r"names 'bird', but the classes .*: cat, dog"):
        convert('yolo', yolo, tmp_path / 'out.json', classes=['bird'])
    with pytest.raises(ConversionError, match='each once: dog'):
        convert('yolo', yolo, tmp_path / 'out.json', classes=['dog', 'dog'])


def test_boxes_without_area_are_left_out_and_named(tmp_path, capsys):
    images = [image(1, 'v/0.jpg')]
    objects = [
        annotation(1, 1, [3, 3, 0, 9]),
        annotation(2, 1, [3, 3, -2, 9]),
        annotation(3, 1, [64, 3, 5, 9]),
        annotation(4, 1, [-10, -10, 12, 13]),
        annotation(5, 1, [3, 3, 9, 0]),
    ]
    write(tmp_path, {'ann.json': coco(images, objects)})
    content = convert('coco', tmp_path / 'ann.json', tmp_path / 'out.json')
    assert boxes(content) == [('v', 0, 'dog', None, [0, 0, 2, 3])]
    shown = capsys.readouterr().out
    assert '4 boxes have no area inside of the image' in shown
    assert 'annotation id 2' in shown and '[3, 3, -2, 9]' in shown


def test_frames_of_one_video_have_one_size(tmp_path):
    images = [image(1, 'v/0.jpg'), image(2, 'v/1.jpg', width=80)]
    write(tmp_path, {'ann.json': coco(images, GOOD_BOX)})
    with pytest.raises(ConversionError, match=r'v/1\.jpg has 80x48 .* v/0\.jpg .*has 64x48'):
        convert('coco', tmp_path / 'ann.json', tmp_path / 'out.json')


def test_names_of_videos_must_differ(tmp_path):
    for part in 'ab':
        write(tmp_path / part, {'ann.json': coco(GOOD_IMAGE, GOOD_BOX)})
    inputs = [tmp_path / 'a/ann.json', tmp_path / 'b/ann.json']
    with pytest.raises(ConversionError, match="1 names stand for several videos, such as 'v'"):
        convert('coco', inputs, tmp_path / 'out.json')


def test_images_outside_of_the_image_root(yolo, tmp_path):
    with pytest.raises(ConversionError, match=r'does not lie in the image root .*--img-root'):
        convert('yolo', yolo, tmp_path / 'out.json', img_root=tmp_path / 'elsewhere')
    content = convert('yolo', yolo, tmp_path / 'out.json', img_root=tmp_path)
    assert frames(content)[0] == ('yolo/images/cam1', 0, 'yolo/images/cam1/f_1.jpg')


# --- round trips ---------------------------------------------------------------------------------


def test_the_result_opens_and_yields_clips(yolo, tmp_path):
    convert('yolo', yolo, tmp_path / 'out.json')
    dataset = CocoVideoDataset(
        tmp_path / 'out.json',
        yolo,
        [LOAD, ANNOTATIONS, PACK],
        ref_img_sampler=dict(num_ref_imgs=2, frame_range=9, method='bilateral_uniform'),
    )
    assert dataset.classes == ('cat', 'dog')
    assert dataset.index.has_track_ids
    assert len(dataset) == 3  # the frame without objects is no sample
    clip = dataset[0, 5]
    assert clip.images.shape[1:] == (48, 64, 3)  # equal frames are there once
    np.testing.assert_allclose(clip.key.boxes, [[24, 12, 40, 36], [0, 0, 32, 24]])
    assert clip.key.labels.tolist() == [1, 0] and clip.key.instance_ids.tolist() == [1, 2]
    assert all(ref.video_id == clip.key.video_id for ref in clip.refs)


def test_cocovid_to_cocovid_changes_nothing(yolo, tmp_path):
    first = convert('yolo', yolo, tmp_path / 'one.json')
    again = convert('coco', tmp_path / 'one.json', tmp_path / 'two.json', img_root=yolo)
    assert again == first


def test_cocovid_of_the_dataset_tests_keeps_its_objects(tmp_path):
    arguments = write_video_set(tmp_path / 'tiny', test=False)
    convert('coco', tmp_path / 'tiny/ann.json', tmp_path / 'out.json')
    old, new = (CocoVideoIndex.open(p) for p in (arguments['ann_file'], tmp_path / 'out.json'))
    np.testing.assert_array_equal(new.video_offsets, old.video_offsets)
    np.testing.assert_array_equal(new.image_is_train_frame, old.image_is_train_frame)
    assert [new.file_name(i) for i in range(len(new))] == [
        old.file_name(i) for i in range(len(old))
    ]
    # without: no width (frame 5), outside (6), ignored (8); cut at the border: frame 9
    assert len(new.ann_ids) == len(old.ann_ids) - 3


# --- the command ---------------------------------------------------------------------------------


def test_the_command(repo, yolo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {'wanted.txt': 'dog\ncat\n'})
    done = run_tool(
        repo / TOOL,
        *('--from', 'yolo', '-i', 'yolo', '-o', 'out/mine.json', '--classes', 'wanted.txt'),
        *('--val-fraction', '0.5', '--every', '2'),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'mine_train.json',
        'mine_val.json',
    ]
    assert names(json.loads((tmp_path / 'out/mine_val.json').read_text())) == ['dog', 'cat']
    for word in ('Class names from', 'videos', 'training key frames'):
        assert word in done.stdout


def test_the_command_shows_errors_without_a_traceback(repo, yolo, tmp_path):
    write(yolo, {'labels/cam1/f_10.txt': '0 0.5\n'})
    done = run_tool(repo / TOOL, '--from', 'yolo', '-i', yolo, '-o', tmp_path / 'out.json')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.startswith('error: row 1 of ') and 'f_10.txt' in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--from', 'yolo', '-o', 'out'], '-o must be a .json file'),
        (['--from', 'imagenet-vid', '-o', 'a.json'], '-o is a folder'),
        (['--from', 'imagenet-vid', '-o', 'a', '--every', '2'], 'of its own: no --every'),
        (['--from', 'yolo', '-o', 'a.json', '--every', '2', '--fps', '1'], 'not allowed with'),
        (['--from', 'mscoco', '-o', 'a.json'], 'invalid choice'),
    ],
)
def test_command_lines_that_cannot_work(repo, capsys, arguments, message):
    sys.path.insert(0, str(repo / 'tools/convert_datasets'))
    try:
        from to_cocovid import parse_args
    finally:
        sys.path.pop(0)
    with pytest.raises(SystemExit):
        parse_args([*arguments, '-i', 'x'])
    assert message in capsys.readouterr().err


def test_imagenet_vid_goes_to_its_own_converter(repo, tmp_path):
    from test_ilsvrc_converter import vid_files

    from mmdet.programs.convert.ilsvrc import convert_vid

    write(tmp_path / 'in', vid_files())
    convert_vid(tmp_path / 'in', tmp_path / 'expected', workers=1)
    words = ('--from', 'imagenet-vid', '-i', tmp_path / 'in', '-o', tmp_path / 'out')
    done = run_tool(repo / TOOL, *words)
    assert done.returncode == 0, done.stderr
    for name in ('imagenet_vid_train.json', 'imagenet_vid_val.json'):
        assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'expected' / name).read_bytes()


def test_the_ilsvrc_sample(repo, shared, tmp_path):
    root = shared / 'golden/convert/ILSVRC'
    done = run_tool(repo / TOOL, '--from', 'imagenet-vid', '-i', root, '-o', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    for name in ('imagenet_vid_train.json', 'imagenet_vid_val.json'):
        expected = shared / 'golden/convert' / f'expected_{name}'
        assert (tmp_path / 'out' / name).read_bytes() == expected.read_bytes()
