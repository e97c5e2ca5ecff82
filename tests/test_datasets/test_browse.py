"""Pictures of the clips of a config, on a tiny dataset with frames without objects."""

import json
import runpy
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from mmengine import Config
from tiny_cocovid import ANNOTATIONS, LENGTHS, LOAD, PACK, on_tiny_sets

from mmdet.apis.common import checked_config
from mmdet.core.errors import ConfigError
from mmdet.engine.data_loading import build_loader
from mmdet.programs.browse import browse_dataset, clip_sheet
from mmdet.programs.browse.browse import SplitClips


@pytest.fixture(scope='module')
def config_file(repo, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('browse') / 'tiny.py'
    cfg = on_tiny_sets(repo / 'configs/_base_/datasets/sample_vid_multi_frame.py', path.parent)
    cfg.val_dataloader.dataset.ref_img_sampler = None
    cfg.pop('test_dataloader')
    cfg.dump(path)
    return path


@pytest.fixture
def config(config_file, tmp_path) -> Config:
    return checked_config(config_file, work_dir=str(tmp_path / 'work'))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_the_clips_are_those_that_the_runner_loads(config, split):
    loader = build_loader(config[f'{split}_dataloader'], seed=3)
    fed = [clip for batch in loader for clip in batch]
    clips = SplitClips(config, split, seed=3)
    number = len(fed) if split == 'val' else 8
    shown = [clips.load(key).clip for key in clips.keys(number)]
    assert len(shown) == number
    for ours, theirs in zip(shown, fed, strict=False):
        assert torch.equal(ours.images, theirs.images)
        assert [f.path for f in ours.frames] == [f.path for f in theirs.frames]
        assert ours.key.boxes is not None
        if split == 'train':
            assert np.array_equal(ours.key.boxes, theirs.key.boxes)
    assert config.val_dataloader.dataset.pipeline[1].type == 'Resize'  # the config is as it was
    if split == 'val':  # spread from the first frame to the last
        keys = [clips.load(key).clip.key for key in clips.keys(3)]
        assert [(key.video_id, key.frame_id) for key in keys] == [(1, 0), (1, 22), (3, 4)]
        assert len(clips.keys(1000)) == sum(LENGTHS)


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[list, list]]:
    """(boxes, texts) of every call that draws boxes."""
    calls = []

    def note(image, boxes, texts, colors, dashed=False):
        calls.append((np.asarray(boxes).tolist(), list(texts)))
        return image

    monkeypatch.setattr(clip_sheet, 'draw_boxes', note)
    return calls


def test_boxes_classes_and_tracks_stay_together_through_the_transforms(config, drawn):
    """A mirrored and resized frame: boxes by hand from the annotation file."""
    dataset = config.val_dataloader.dataset
    flip, resize = dict(type='RandomFlip', prob=1.0), dict(type='Resize', scale=(128, 96))
    dataset.pipeline = [LOAD, ANNOTATIONS, flip, resize, PACK]
    clips = SplitClips(config, 'val')
    clip_sheet.video_picture(clips.load((9, 9)), clips.dataset.classes)  # video 1, frame 9
    lists, expected = json.loads(Path(dataset.ann_file).read_text()), []
    names = {category['id']: category['name'] for category in lists['categories']}
    for entry in (e for e in lists['annotations'] if e['image_id'] == 10):
        x, y, w, h = entry['bbox']
        left, right = np.clip([64 - (x + w), 64 - x], 0, 64)
        top, bottom = np.clip([y, y + h], 0, 48)
        # 64x48 to 128x96 by the pipeline, five times that by the picture: at least 480 pixels high
        box = [10 * left, 10 * top, 10 * right, 10 * bottom]
        expected.append((box, f'{names[entry["category_id"]]} #{entry["instance_id"]}'))
    assert len(expected) == 2 and expected[1][1].endswith('#50')
    ((boxes, texts),) = drawn
    assert texts == [text for _, text in expected]
    assert np.allclose(boxes, [box for box, _ in expected], atol=1e-3)


def test_a_whole_video(config, tmp_path):
    path = browse_dataset(config, 'val', tmp_path / 'v.mp4', video='video_3', fps=7.5)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
    assert len(frames) == LENGTHS[2] and not np.array_equal(frames[0], frames[4])


def test_the_command(config, repo, tmp_path, monkeypatch, capsys):
    argv = [config.filename, '--out', str(tmp_path / 'pages'), '--num', '2', '--split', 'val']
    monkeypatch.setattr(sys, 'argv', ['browse_dataset.py', *argv])
    runpy.run_path(str(repo / 'tools/browse_dataset.py'))['main']()
    path = tmp_path / 'pages/browse_tiny_val.png'
    assert str(path) in capsys.readouterr().out
    assert cv2.imread(str(path)).shape[1] > 400
    pages = [browse_dataset(config, out=tmp_path / f'{i}.png', num=1, seed=i) for i in (0, 1)]
    assert pages[0].read_bytes() != pages[1].read_bytes()


def test_mistakes(config, tmp_path):
    for arguments, words in (
        (dict(split='test'), 'no test_dataloader'),
        (dict(out=tmp_path / 'v.avi'), 'one of .png, .jpg, .jpeg, .mp4, not'),
        (dict(video='video_4'), "No video is called 'video_4'. The closest of 3 names: tiny/video"),
    ):
        with pytest.raises(ConfigError, match=words):
            browse_dataset(config, **{'split': 'val', 'out': tmp_path / 'page.png', **arguments})
    config.val_dataloader.dataset.img_prefix = str(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'tiny/video_1/000000.JPEG does not exist'):
        browse_dataset(config, 'val', tmp_path / 'v.mp4')
    assert not list(tmp_path.iterdir())
