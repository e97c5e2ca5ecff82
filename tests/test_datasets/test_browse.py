"""Pictures of the clips of a config, on a tiny dataset with frames without objects."""

import runpy
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from mmengine import Config
from tiny_cocovid import LENGTHS, on_tiny_sets

from mmdet.apis.common import checked_config
from mmdet.core.errors import ConfigError
from mmdet.engine.data_loading import build_loader
from mmdet.programs.browse import browse_dataset
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
