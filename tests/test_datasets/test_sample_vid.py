"""The sample dataset: same bytes for a seed, ILSVRC layout, all motion bins, degraded stretches."""

import hashlib
import json
from collections import Counter

import pytest

from mmdet.datasets.motion import motion_from_tracks
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.convert import convert_vid
from mmdet.programs.sample import SampleSpec, make_sample_vid

SPEC = SampleSpec(seed=3, train_videos=6, val_videos=4, det_images=8)


def digest(root):
    files = {str(path.relative_to(root)): path for path in root.rglob('*') if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp('sample')
    return root, make_sample_vid(root, SPEC)


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
    for split, keys in (('train', 6 * 4), ('val', 0)):
        path = tmp_path / f'imagenet_vid_{split}.json'
        data = json.loads(path.read_text())
        classes = {category['id']: category['name'] for category in data['categories']}
        assert len(data['images']) == reports[split].frames
        found = Counter(classes[a['category_id']] for a in data['annotations'])
        assert found == reports[split].boxes
        assert sum(image['is_vid_train_frame'] for image in data['images']) == keys
        motion = motion_from_tracks(CocoVideoIndex.open(path))
        slow, fast = (motion >= 0.9).sum(), (motion < 0.7).sum()
        counts = dict(slow=slow, medium=len(motion) - slow - fast, fast=fast)
        assert counts == dict(reports[split].motion)
        assert min(counts.values()) >= 0.15 * len(motion), counts
