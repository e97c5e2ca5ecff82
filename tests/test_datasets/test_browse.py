"""Pictures of the clips of a config, on a tiny dataset with frames without objects."""

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
def config(repo, tmp_path_factory) -> Config:
    folder = tmp_path_factory.mktemp('browse')
    cfg = on_tiny_sets(repo / 'configs/_base_/datasets/sample_vid_multi_frame.py', folder)
    cfg.pop('test_dataloader')
    cfg.dump(folder / 'tiny.py')
    return checked_config(folder / 'tiny.py', work_dir=str(folder / 'work'))


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
        assert ours.key.boxes is not None
        if split == 'train':
            assert np.array_equal(ours.key.boxes, theirs.key.boxes)


def test_pages_and_videos(config, run_tool, tmp_path):
    out = tmp_path / 'pages'
    done = run_tool('browse_dataset.py', config.filename, '--out', out, '--split', 'val')
    assert done.returncode == 0 and str(out / 'browse_tiny_val.png') in done.stdout
    assert cv2.imread(str(out / 'browse_tiny_val.png')).shape[1] > 400
    path = browse_dataset(config, 'val', tmp_path / 'v.mp4', video='video_3', fps=7.5)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
    assert len(frames) == LENGTHS[2] and not np.array_equal(frames[0], frames[4])
    for arguments, words in (
        (dict(split='test'), 'no test_dataloader'),
        (dict(out=tmp_path / 'v.avi'), 'one of .png, .jpg, .jpeg, .mp4, not'),
        (dict(video='video_4'), "No video is called 'video_4'. The closest of 3 names: tiny/video"),
    ):
        with pytest.raises(ConfigError, match=words):
            browse_dataset(config, **{'split': 'val', 'out': out / 'other.png', **arguments})
    assert len(list(out.iterdir())) == 1
