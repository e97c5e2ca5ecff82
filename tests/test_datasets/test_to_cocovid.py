"""Conversion to CocoVID whatever the format: splits, key frames, classes, round trips, command."""

import json

import numpy as np
import pytest
from own_data import GOOD_BOX, GOOD_IMAGE, boxes, coco, frames, names, write, write_frames
from tiny_cocovid import ANNOTATIONS, LOAD, PACK

from mmdet.core.errors import ConversionError
from mmdet.datasets import CocoVideoDataset
from mmdet.programs.convert import ConvertOptions, to_cocovid

TOOL = 'convert_datasets/to_cocovid.py'


@pytest.fixture
def split(tmp_path):
    """Converts ten YOLO videos of one frame, v0 to v9; the names of the videos of each part."""
    root = write(tmp_path / 'ten', {'classes.txt': 'cat\ndog'})
    for i in range(10):
        write(write_frames(root / f'v{i}', 1), {'000000.txt': f'{i % 2} 0.5 0.5 0.5 0.5'})

    def converted(**options):
        paths = to_cocovid('yolo', [root], tmp_path / 'out.json', ConvertOptions(**options))
        assert [path.name for path in paths] == ['out_train.json', 'out_val.json']
        contents = [json.loads(path.read_text()) for path in paths]
        return [{video['name'] for video in content['videos']} for content in contents]

    return converted


def test_split_by_fraction(split, tmp_path):
    train, val = split(val_fraction=0.3)
    assert len(val) == 3 and len(train) == 7
    assert val | train == {f'v{i}' for i in range(10)}
    for part, keys in (('train', [0]), ('val', [])):
        content = json.loads((tmp_path / f'out_{part}.json').read_text())
        assert names(content) == ['cat', 'dog']
        assert all(video['vid_train_frames'] == keys for video in content['videos'])
        assert all(image['is_vid_train_frame'] == bool(keys) for image in content['images'])
        ids = [image['id'] for image in content['images']]
        assert ids == list(range(1, len(ids) + 1))  # each numbers from 1
    assert split(val_fraction=0.3) == [train, val]
    assert any(split(val_fraction=0.3, seed=seed) != [train, val] for seed in range(1, 4))
    assert len(split(val_fraction=0.001)[1]) == len(split(val_fraction=0.999)[0]) == 1


def test_split_by_file(split, tmp_path):
    rows = [f'train v{i}' for i in range(8)] + ['', 'val v8', 'val  v9 ']
    path = tmp_path / 'split.txt'
    path.write_text('\n'.join(rows))
    assert split(split_file=path)[1] == {'v8', 'v9'}
    for changed, message in [
        ([*rows, 'test v9'], 'row 12 .*expected "train VIDEO" or "val VIDEO"'),
        ([*rows, 'val v10'], 'row 12 .*no such video'),
        (rows[:-2], 'no row for 2 of 10 videos: v8, v9'),
    ]:
        path.write_text('\n'.join(changed))
        with pytest.raises(ConversionError, match=message):
            split(split_file=path)


def test_key_frames(tmp_path, convert, refused):
    root = write_frames(tmp_path / 'v', 7)
    write(root, {'classes.txt': 'cat', '000000.txt': '0 .5 .5 .5 .5'})

    def keys(**options):
        (video,) = convert('yolo', root, **options)['videos']
        return video['vid_train_frames']

    assert keys() == [0, 1, 2, 3, 4, 5, 6]
    assert keys(every=3) == [0, 3, 6]
    assert keys(val=True) == []
    refused('yolo', root, r'frame rate of v is not known.*--every N', fps=1)
    refused('yolo', root, 'whole videos, and there is only 1', val_fraction=0.5)


def test_selected_classes_and_another_root(yolo, convert):
    content = convert('yolo', yolo, classes=['dog'])
    assert content['categories'] == [{'id': 1, 'name': 'dog'}]
    cam1, cam2 = ('images/cam1', 1), ('images/sub/cam2', 2)  # the cat uses up no instance id
    assert [(row[0], row[3]) for row in boxes(content)] == [cam1, cam1, cam2]
    assert [a['id'] for a in content['annotations']] == [1, 2, 3]
    content = convert('yolo', yolo, img_root=yolo.parent)
    assert frames(content)[0] == ('yolo/images/cam1', 0, 'yolo/images/cam1/f_1.jpg')


def test_inputs_and_options_that_cannot_be(yolo, tmp_path, refused):
    for options, message in (
        (dict(val_fraction=1), 'between 0 and 1'),
        (dict(every=0), '--every must be at least 1'),
        (dict(fps=0.0), '--fps must be positive'),
        (dict(classes=['dog', 'dog']), 'each once: dog'),
        (dict(classes=['bird']), r"names 'bird', but the classes .*: cat, dog"),
        (dict(img_root='/elsewhere'), r'does not lie in the image root .*--img-root'),
    ):
        refused('yolo', yolo, message, **options)
    refused('mscoco', yolo, "Unknown format 'mscoco'. Known: yolo, coco")
    refused('coco', tmp_path / 'no.json', 'There is no .*no.json')
    write(tmp_path, {f'{part}/ann.json': coco(GOOD_IMAGE, GOOD_BOX) for part in 'ab'})
    inputs = [tmp_path / 'a/ann.json', tmp_path / 'b/ann.json']
    refused('coco', inputs, "1 names stand for several videos, such as 'v'")
    write(tmp_path, {'none.json': coco([], [])})
    refused('coco', tmp_path / 'none.json', 'There is no frame in the input')


def test_the_result_yields_clips_and_converts_to_itself(yolo, convert, tmp_path):
    first = convert('yolo', yolo)
    references = dict(num_ref_imgs=2, frame_range=9, method='bilateral_uniform')
    pipeline = [LOAD, ANNOTATIONS, PACK]
    dataset = CocoVideoDataset(tmp_path / 'out.json', yolo, pipeline, ref_img_sampler=references)
    assert len(dataset) == 3  # the frame without objects is no sample
    clip = dataset[0, 5]
    np.testing.assert_allclose(clip.key.boxes, [[24, 12, 40, 36], [0, 0, 32, 24]])
    assert clip.key.labels.tolist() == [1, 0] and clip.key.instance_ids.tolist() == [1, 2]
    assert convert('coco', tmp_path / 'out.json', 'two.json', img_root=yolo) == first


def test_the_command(run_tool, yolo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {'wanted.txt': 'dog\ncat\n'})
    arguments = ['--from', 'yolo', '-i', 'yolo', '-o', 'out/mine.json', '--classes', 'wanted.txt']
    done = run_tool(TOOL, *arguments, '--val-fraction', '0.5', '--every', '2')
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / 'out').iterdir())
    assert [path.name for path in files] == ['mine_train.json', 'mine_val.json']
    assert names(json.loads(files[1].read_text())) == ['dog', 'cat']
    assert 'training key frames' in done.stdout
    write(yolo, {'labels/cam1/f_10.txt': '0 0.5\n'})
    done = run_tool(TOOL, *arguments)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.startswith('error: row 1 of ') and 'f_10.txt' in done.stderr
