"""Motion IoU of tracks, its cache beside the annotation file, and MATLAB files of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from eval_files import TWO_VIDEOS, cocovid
from scipy.io import loadmat, savemat

from mmdet.core.errors import EvaluationError
from mmdet.datasets import motion as motion_module
from mmdet.datasets.motion import motion_from_mat, motion_from_tracks, motion_iou
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.ground_truth import ground_truth
from mmdet.evaluation.vid_ap import motion_ranges

EPS = 1e-10


@pytest.fixture
def path(tmp_path):
    return cocovid(tmp_path / 'a.json', TWO_VIDEOS)


@pytest.fixture
def index(path):
    return CocoVideoIndex.open(path)


def box_iou(a, b):
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    w = max(min(ax + aw, bx + bw) - max(ax, bx), 0)
    h = max(min(ay + ah, by + bh) - max(ay, by), 0)
    union = aw * ah + bw * bh - w * h
    return w * h / union if union > 0 else 0.0


def naive_motion(track, frame, boxes):
    """The mean IoU with the boxes of the track in the 10 frames before and after."""
    at, values = {}, []
    for key, box in zip(zip(track, frame, strict=True), boxes, strict=True):
        at.setdefault(key, box)
    for t, f, box in zip(track, frame, boxes, strict=True):
        near = [at[t, f + d] for d in range(-10, 11) if d and (t, f + d) in at]
        values.append((sum(box_iou(box, other) for other in near) + EPS) / (len(near) + EPS))
    return values


@pytest.mark.parametrize('seed', range(2))
def test_equals_the_naive_loop(seed):
    rng = np.random.default_rng(seed)
    track, frame = np.divmod(rng.permutation(8 * 60)[:250], 60)  # tracks with gaps
    track = rng.integers(0, 10**12, 8)[track]
    boxes = np.concatenate([rng.uniform(0, 30, (250, 2)), rng.uniform(0, 40, (250, 2))], axis=1)
    boxes[rng.random(250) < 0.1, 2:] = 0
    if seed == 0:  # the same object twice in a frame
        track, frame = np.append(track, track[:5]), np.append(frame, frame[:5])
        boxes = np.concatenate([boxes, boxes[5:10]])
    found = motion_iou(track, frame, boxes)
    np.testing.assert_allclose(found, naive_motion(track, frame, boxes), rtol=1e-12)


def test_equal_instance_ids_in_two_videos_are_two_tracks(path):
    still, moved = (0, 0, 10, 10), (50, 50, 10, 10)
    videos = {'one': [[('a', 1, still)]], 'two': [[], [('a', 1, moved)]]}
    index = CocoVideoIndex.open(cocovid(path, videos))
    assert motion_from_tracks(index).tolist() == [1, 1]
    cocovid(path, videos, tracks=False)
    assert motion_from_tracks(CocoVideoIndex.open(path)) is None


def test_images_out_of_order_in_the_file(path):
    data = json.loads(path.read_text())
    data['images'].reverse()
    path.write_text(json.dumps(data))
    index = CocoVideoIndex.open(path)
    truth = ground_truth(index, motion=motion_from_tracks(index))
    assert truth.image.tolist() == [0, 0, 1, 3, 4]
    np.testing.assert_allclose(truth.motion, [1, 1, 1, 1 / 3, 1 / 3], atol=1e-9)
    official = motion_from_mat(write_mat(path.with_name('m.mat'), MAT), index)
    assert ground_truth(index, motion=official).motion.tolist() == [0.1, 0.2, 0.3, 0.4, 1]


@pytest.mark.parametrize('damage', [None, 'cut', 'foreign'])
def test_it_is_read_again_unless_the_cache_is_damaged(index, tmp_path, monkeypatch, damage):
    first = motion_from_tracks(index)
    (file,) = tmp_path.rglob('motion-*.npz')
    assert file.parent.name == '.a.json.vfe-cache'
    whole = file.read_bytes()
    if damage == 'cut':
        file.write_bytes(whole[:-40])
    if damage == 'foreign':
        np.savez(file, motion=np.zeros(5), content=np.array('something else'))
    if damage is None:
        monkeypatch.setattr(motion_module, 'motion_iou', lambda *_: pytest.fail('computed again'))
    np.testing.assert_array_equal(motion_from_tracks(index), first)
    assert file.read_bytes() == whole  # and put right


MAT = [[0.1, 0.2], [0.3], [], [0.4], [1]]


def write_mat(path, values, name='motion_iou'):
    """The layout of the official file: (n, 1) cells of (k, 1), or (1, 0) without objects."""
    cells = np.empty((len(values), 1), object)
    for i, per_image in enumerate(values):
        filled = np.array(per_image, float).reshape(-1, 1)
        cells[i, 0] = filled if len(per_image) else np.zeros((1, 0))
    savemat(path, {name: cells})
    return path


@pytest.mark.parametrize(
    ('values', 'name', 'message'),
    [
        (MAT[:1], 'motion_iou', r'has 1 images, but .*a\.json has 5'),
        ([MAT[0], [0.3, 0.3], [], [], [1]], 'motion_iou', r'2 objects for image 2 .*has 1; 2'),
        ([MAT[0], [3], [], [1], [1]], 'motion_iou', r'outside 0\.\.1'),
        (MAT, 'speed', "no variable 'motion_iou', only speed"),
    ],
)
def test_other_mat_files(index, tmp_path, values, name, message):
    path = write_mat(tmp_path / 'm.mat', values, name)
    with pytest.raises(EvaluationError, match=message):
        motion_from_mat(path, index)
    path.write_text('motion')
    with pytest.raises(EvaluationError, match='cannot be read as a MATLAB file'):
        motion_from_mat(path, index)


class ImageCounts(SimpleNamespace):
    """What `motion_from_mat` needs of an annotation index."""

    def __len__(self):
        return len(self.image_ids)


def test_the_official_file(shared):
    path = shared / 'data' / 'vid_groundtruth_motion_iou.mat'
    counts = np.array([cell.size for cell in loadmat(path)['motion_iou'].ravel()])
    offsets, ids = np.concatenate([[0], np.cumsum(counts)]), np.arange(len(counts)) + 1
    motion = motion_from_mat(path, ImageCounts(image_ids=ids, ann_offsets=offsets, ann_file='x'))
    assert len(counts) == 176126 and len(motion) == 273505
    image = np.repeat(ids - 1, counts)
    truth = SimpleNamespace(image_ids=ids, image=image, label=np.zeros_like(image), motion=motion)
    ranges = motion_ranges(truth)
    counted = {r.name: int((~r.ignored).sum()) for r in ranges}
    assert counted == {'all': 273505, 'fast': 71547, 'medium': 98216, 'slow': 103742}
    shares = [r.empty_weight for r in ranges]
    entries = 273505 + 4046  # one placeholder for every frame without objects
    np.testing.assert_allclose(shares, [0, 75593 / entries, 98216 / entries, 103742 / entries])
