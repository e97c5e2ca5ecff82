"""The sample dataset: same bytes for a seed, ILSVRC layout, all motion bins, degraded stretches."""

import hashlib
import json
from collections import Counter, defaultdict
from itertools import pairwise

import cv2
import numpy as np
import pytest

from mmdet.datasets.motion import motion_from_tracks
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.convert import convert_det, convert_vid
from mmdet.programs.sample import SampleSpec, make_sample_vid
from mmdet.programs.sample.degrade import KINDS
from mmdet.programs.sample.scene import _paste
from mmdet.programs.sample.sprites import DRAWERS, make_sprite
from mmdet.programs.sample.tracks import make_track

SPEC = SampleSpec(seed=3, train_videos=6, val_videos=4, det_images=8)


def digest(root):
    files = {str(path.relative_to(root)): path for path in root.rglob('*') if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp('sample')
    return root, make_sample_vid(root, SPEC)


def rows(root, name):
    return [line.split() for line in (root / 'ImageSets' / name).read_text().splitlines()]


def test_a_seed_decides_the_bytes_and_fewer_videos_are_a_prefix(sample, tmp_path):
    whole = digest(sample[0])
    make_sample_vid(tmp_path / 'part', SampleSpec(3, train_videos=2, val_videos=1, det_images=3))
    part = digest(tmp_path / 'part')
    frames = [name for name in part if name.startswith(('Data', 'Annotations'))]
    assert len(frames) > 80
    assert all(part[name] == whole[name] for name in frames)
    make_sample_vid(tmp_path / 'other', SampleSpec(4, 1, 1, 1))
    other = digest(tmp_path / 'other')
    assert not any(other[name] == whole[name] for name in other if name.endswith('.JPEG'))


def test_goes_through_the_converters_with_all_motion_bins(sample, tmp_path):
    root, reports = sample
    convert_vid(root, tmp_path, workers=1)
    convert_det(root, tmp_path, workers=1)
    names = dict(train='vid_train', val='vid_val', det='det_30plus1cls')
    for split, name in names.items():
        path = tmp_path / f'imagenet_{name}.json'
        data = json.loads(path.read_text())
        classes = {category['id']: category['name'] for category in data['categories']}
        assert len(data['images']) == reports[split].frames
        found = Counter(classes[a['category_id']] for a in data['annotations'])
        assert found == reports[split].boxes
        if split == 'det':
            continue
        keys = [image for image in data['images'] if image['is_vid_train_frame']]
        assert len(keys) == (6 * 4 if split == 'train' else 0)
        motion = motion_from_tracks(CocoVideoIndex.open(path))
        slow, fast = (motion >= 0.9).sum(), (motion < 0.7).sum()
        counts = dict(slow=slow, medium=len(motion) - slow - fast, fast=fast)
        assert counts == dict(reports[split].motion)
        assert min(counts.values()) >= 0.15 * len(motion), counts


def sharpness(path):
    return cv2.Laplacian(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), cv2.CV_64F).var()


def test_degraded_frames_are_listed_and_lie_between_clear_ones(sample, split='val'):
    """Their sharpness is well below that of the clear frames of the video, or above with noise."""
    root, reports = sample
    listed = dict(rows(root, f'VID_{split}_degraded.txt'))
    assert Counter(listed.values()) == reports[split].degraded
    assert 0.15 < len(listed) / reports[split].frames < 0.45
    assert set(listed.values()) == set(KINDS)
    by_video = defaultdict(list)
    for name in listed:
        video, frame = name.rsplit('/', 1)
        by_video[video].append(int(frame))
    for video, frames in by_video.items():
        cuts = [i + 1 for i, (a, b) in enumerate(pairwise(frames)) if b - a > 1]
        assert all(3 <= len(run) <= 6 for run in np.split(frames, cuts))
        assert all(frames[i] - frames[i - 1] > 5 for i in cuts)
        files = sorted((root / 'Data/VID' / video).iterdir())
        clear = np.median([sharpness(f) for f in files if int(f.stem) not in frames][:4])
        for frame in frames:
            kind, ratio = listed[f'{video}/{frame:06d}'], sharpness(files[frame]) / clear
            assert kind not in ('motion_blur', 'defocus') or ratio < 0.75, (video, frame)
            assert kind != 'noise' or ratio > 2, (video, frame)


@pytest.mark.parametrize('name', list(DRAWERS)[::4])
def test_sprites_vary_and_boxes_bound_them(name):
    """Against the pixels themselves: alone, and pasted on black."""
    sprites = [make_sprite(name, np.random.default_rng(seed)) for seed in range(2)]
    assert not np.array_equal(sprites[0].image, sprites[1].image)
    for sprite in sprites:
        assert (sprite.image[..., :3] <= sprite.image[..., 3:]).all()  # premultiplied
        ys, xs = np.nonzero(sprite.image[..., 3] > 127)
        bounds = np.concatenate([sprite.hull.min(0), sprite.hull.max(0)]) - 0.5
        assert bounds.tolist() == [xs.min(), ys.min(), xs.max(), ys.max()]
        assert sprite.extent > 180  # fills the canvas
    track = make_track(name, 'medium', 9, (320, 192), np.random.default_rng(len(name)))
    track.x[:], track.y[:] = 160, 96
    for track.flip in (False, True):
        image = np.zeros((192, 320, 3), np.uint8)
        _paste(image, track, 4, track.box(4))
        ys, xs = np.nonzero(image.max(axis=2) > 20)
        lit = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        # the hull of a turned sprite can reach a little beyond what its corners light
        assert np.abs(track.box(4) - lit).max() < 4
    track.angle[:] = 0
    low, high = np.split(track.box(2), 2)
    np.testing.assert_allclose((low + high) / 2, [track.x[2], track.y[2]])


def test_the_command_replaces_an_earlier_sample_but_nothing_else(run_tool, tmp_path):
    def run(*options):
        return run_tool('make_sample_vid.py', '-o', tmp_path, '--images', '1', *options)

    assert run('--videos', '2', '1').returncode == 0
    done = run('--videos', '1', '1', '--seed', '5')
    assert done.returncode == 0, done.stderr
    assert 'slow' in done.stdout and 'motion_blur' in done.stdout
    assert json.loads((tmp_path / 'sample_vid.json').read_text())['seed'] == 5
    assert len(list(tmp_path.glob('Data/VID/train/*/*'))) == 1
    (tmp_path / 'sample_vid.json').unlink()
    before = digest(tmp_path)
    failed = run('--videos', '1', '1')
    assert failed.returncode == 1 and 'exists and is not a sample' in failed.stderr
    assert digest(tmp_path) == before
