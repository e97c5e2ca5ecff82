"""Conversion to CocoVID whatever the format: splits, key frames, classes, round trips, command."""

import json
import runpy

import numpy as np
import pytest
from own_data import (
    GOOD_BOX,
    GOOD_IMAGE,
    boxes,
    coco,
    convert,
    frames,
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
from mmdet.programs.convert import ConvertOptions, to_cocovid

TOOL = 'tools/convert_datasets/to_cocovid.py'


@pytest.fixture
def yolo(tmp_path):
    return yolo_set(tmp_path / 'yolo')


# --- splits, key frames, classes, names ----------------------------------------------------------


@pytest.fixture
def split(tmp_path):
    """Converts ten YOLO videos of one frame, v0 to v9; the names of the videos of each part."""
    root = tmp_path / 'ten'
    for i in range(10):
        write(write_frames(root / f'v{i}', 1), {'000000.txt': f'{i % 2} 0.5 0.5 0.5 0.5'})
    write(root, {'classes.txt': 'cat\ndog'})

    def converted(**options):
        paths = to_cocovid('yolo', [root], tmp_path / 'out.json', ConvertOptions(**options))
        contents = [json.loads(path.read_text()) for path in paths]
        assert [path.name for path in paths] == ['out_train.json', 'out_val.json']
        return [{video['name'] for video in content['videos']} for content in contents]

    return converted


def test_split_by_fraction(split, tmp_path):
    train, val = split(val_fraction=0.3)
    assert len(val) == 3 and len(train) == 7
    assert val | train == {f'v{i}' for i in range(10)}
    contents = [
        json.loads((tmp_path / f'out_{part}.json').read_text()) for part in ('train', 'val')
    ]
    for content, keys in zip(contents, ([0], []), strict=True):
        assert names(content) == ['cat', 'dog']
        assert all(video['vid_train_frames'] == keys for video in content['videos'])
        assert all(image['is_vid_train_frame'] == bool(keys) for image in content['images'])
        ids = [image['id'] for image in content['images']]
        assert ids == list(range(1, len(ids) + 1))  # each numbers from 1
    assert split(val_fraction=0.3) == [train, val]
    assert any(split(val_fraction=0.3, seed=seed) != [train, val] for seed in range(1, 4))
    assert len(split(val_fraction=0.001)[1]) == len(split(val_fraction=0.999)[0]) == 1
    for fraction in (0, 1, -0.1):
        with pytest.raises(ConversionError, match='between 0 and 1'):
            split(val_fraction=fraction)
    with pytest.raises(ConversionError, match='divides whole videos, and there is only 1'):
        convert('yolo', tmp_path / 'ten/v0', tmp_path / 'out.json', val_fraction=0.5)


def test_split_by_file(split, tmp_path):
    rows = [f'train v{i}' for i in range(8)] + ['', 'val v8', 'val  v9 ']
    path = tmp_path / 'split.txt'
    path.write_text('\n'.join(rows))
    assert split(split_file=path)[1] == {'v8', 'v9'}
    for changed, message in [
        ([*rows, 'test v9'], 'row 12 .*expected "train VIDEO" or "val VIDEO"'),
        ([*rows, 'val v8'], 'row 12 .*has a row already'),
        ([*rows, 'val v10'], 'row 12 .*no such video'),
        (rows[:-2], 'no row for 2 of 10 videos: v8, v9'),
    ]:
        path.write_text('\n'.join(changed))
        with pytest.raises(ConversionError, match=message):
            split(split_file=path)


def test_an_error_leaves_no_file_of_a_split(split, tmp_path):
    write(tmp_path, {'ten/v9/000000.txt': 'x'})
    with pytest.raises(ConversionError):
        split(val_fraction=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ['ten']


def test_key_frames(tmp_path):
    root = write_frames(tmp_path / 'v', 7)
    write(root, {'classes.txt': 'cat', '000000.txt': '0 .5 .5 .5 .5'})

    def keys(**options):
        (video,) = convert('yolo', root, tmp_path / 'o.json', **options)['videos']
        return video['vid_train_frames']

    assert keys() == [0, 1, 2, 3, 4, 5, 6]
    assert keys(every=3) == [0, 3, 6]
    assert keys(every=100) == [0]
    assert keys(val=True) == []
    for options, message in [
        (dict(fps=1), r'frame rate of v is not known.*--every N'),
        (dict(every=0), '--every must be at least 1'),
        (dict(fps=0.0), '--fps must be positive'),
    ]:
        with pytest.raises(ConversionError, match=message):
            keys(**options)


def test_selected_classes(yolo, tmp_path):
    content = convert('yolo', yolo, tmp_path / 'out.json', classes=['dog'])
    assert content['categories'] == [{'id': 1, 'name': 'dog'}]
    assert [(row[0], row[3]) for row in boxes(content)] == [
        *(('images/cam1', 1), ('images/cam1', 1)),
        ('images/sub/cam2', 2),  # the cat uses up no instance id
    ]
    assert [a['id'] for a in content['annotations']] == [1, 2, 3]
    content = convert('yolo', yolo, tmp_path / 'out.json', classes=['dog', 'cat'])
    assert [a['category_id'] for a in content['annotations']] == [1, 2, 1, 1]
    for classes, message in [
        (['bird'], r"names 'bird', but the classes .*: cat, dog"),
        (['dog', 'dog'], 'each once: dog'),
    ]:
        with pytest.raises(ConversionError, match=message):
            convert('yolo', yolo, tmp_path / 'out.json', classes=classes)


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
    for name in ('video_offsets', 'image_is_train_frame'):
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
    assert all(new.file_name(i) == old.file_name(i) for i in range(len(old)))
    # without: no width (frame 5), outside (6), ignored (8); cut at the border: frame 9
    assert len(new.ann_ids) == len(old.ann_ids) - 3


# --- the command ---------------------------------------------------------------------------------


def test_the_command(repo, yolo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {'wanted.txt': 'dog\ncat\n'})
    arguments = ['--from', 'yolo', '-i', 'yolo', '-o', 'out/mine.json', '--classes', 'wanted.txt']
    done = run_tool(repo / TOOL, *arguments, '--val-fraction', '0.5', '--every', '2')
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / 'out').iterdir())
    assert [path.name for path in files] == ['mine_train.json', 'mine_val.json']
    assert names(json.loads(files[1].read_text())) == ['dog', 'cat']
    for word in ('Class names from', 'videos', 'training key frames'):
        assert word in done.stdout
    write(yolo, {'labels/cam1/f_10.txt': '0 0.5\n'})
    done = run_tool(repo / TOOL, *arguments)
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
    with pytest.raises(SystemExit):
        runpy.run_path(str(repo / TOOL))['parse_args']([*arguments, '-i', 'x'])
    assert message in capsys.readouterr().err


def test_the_command_for_imagenet_vid(repo, shared, tmp_path):
    root = shared / 'golden/convert/ILSVRC'
    done = run_tool(repo / TOOL, '--from', 'imagenet-vid', '-i', root, '-o', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    for name in ('imagenet_vid_train.json', 'imagenet_vid_val.json'):
        expected = shared / 'golden/convert' / f'expected_{name}'
        assert (tmp_path / 'out' / name).read_bytes() == expected.read_bytes()
