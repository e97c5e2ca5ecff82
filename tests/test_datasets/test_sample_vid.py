"""The sample dataset: same bytes for a seed, ILSVRC layout, all motion bins, degraded stretches."""

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from mmdet.datasets.imagenet_classes import IMAGENET_VID_WNIDS
from mmdet.programs.convert import convert_det, convert_vid
from mmdet.programs.sample import SampleSpec, make_sample_vid
from mmdet.programs.sample.canvas import Canvas, hsv
from mmdet.programs.sample.degrade import KINDS, Stretch, cover, degrade, plan_stretches
from mmdet.programs.sample.sprites import DRAWERS, make_sprite
from mmdet.programs.sample.tracks import SPEEDS, make_track, visible_box

SPEC = SampleSpec(seed=3, train_videos=6, val_videos=4, det_images=8)


def digest(root):
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp('sample')
    return root, make_sample_vid(root, SPEC)


@pytest.fixture(scope='module')
def converted(sample, tmp_path_factory):
    out = tmp_path_factory.mktemp('annotations')
    convert_vid(sample[0], out, workers=1)
    convert_det(sample[0], out, workers=1)
    return {path.stem: json.loads(path.read_text()) for path in out.iterdir()}


def rows(root, name):
    return [line.split() for line in (root / 'ImageSets' / name).read_text().splitlines()]


def test_same_seed_same_bytes_and_another_seed_other_bytes(sample, tmp_path):
    first = digest(sample[0])
    make_sample_vid(tmp_path / 'again', SPEC)
    assert digest(tmp_path / 'again') == first
    make_sample_vid(tmp_path / 'other', SampleSpec(4, 1, 1, 1))
    for name, sha in digest(tmp_path / 'other').items():
        if name.endswith('.JPEG'):
            assert sha != first[name]
    # not only another cast in the same scenery
    corners = [
        cv2.imread(str(root / 'Data/VID/val/ILSVRC2015_val_00000000/000000.JPEG'))[:9, :9]
        for root in (sample[0], tmp_path / 'other')
    ]
    assert cv2.absdiff(*corners).mean() > 5


def test_fewer_videos_are_a_prefix(sample, tmp_path):
    make_sample_vid(tmp_path, SampleSpec(seed=3, train_videos=2, val_videos=1, det_images=3))
    whole, part = digest(sample[0]), digest(tmp_path)
    frames = [name for name in part if name.startswith(('Data', 'Annotations'))]
    assert len(frames) > 80
    assert all(part[name] == whole[name] for name in frames)


def test_layout_lists_and_files_agree(sample):
    root, reports = sample
    train, val = rows(root, 'VID_train_15frames.txt'), rows(root, 'VID_val_videos.txt')
    assert Counter(row[0] for row in train).most_common()[-1][1] == 4
    assert len({row[0] for row in train}) == 6 and len(val) == 4
    assert [row[0] for row in val] == sorted(row[0] for row in val)
    assert all(row[1:3] == ['1', '0'] for row in val)
    for name, _, frame, length in train:
        assert 1 <= int(frame) <= int(length) and name.startswith('train/')
    for subset, names in (('VID', {(r[0], int(r[3])) for r in train + val}), ('DET', set())):
        expected = {f'{name}/{i:06d}' for name, n in names for i in range(n)}
        expected |= {r[0] for r in rows(root, 'DET_train_30classes.txt')} if not names else set()
        for folder, suffix in (('Data', '.JPEG'), ('Annotations', '.xml')):
            top = root / folder / subset
            found = {str(p.relative_to(top)) for p in top.rglob('*') if p.is_file()}
            assert found == {name + suffix for name in expected}
    assert reports['train'].videos == 6 and reports['det'].frames == 8


def test_xml_fields_and_frames(sample):
    root, _ = sample
    for path in sorted((root / 'Annotations/VID/val/ILSVRC2015_val_00000001').iterdir()):
        xml = ElementTree.parse(path).getroot()
        assert xml.findtext('filename') == path.stem
        assert xml.findtext('folder') == 'ILSVRC2015_val_00000001'
        image = cv2.imread(str(root / 'Data/VID/val/ILSVRC2015_val_00000001' / f'{path.stem}.JPEG'))
        width, height = int(xml.findtext('size/width')), int(xml.findtext('size/height'))
        assert image.shape == (height, width, 3) == (192, 320, 3)
        for node in xml.findall('object'):
            fields = ['trackid', 'name', 'bndbox', 'occluded', 'generated']
            assert [child.tag for child in node] == fields
            assert node.findtext('name') in IMAGENET_VID_WNIDS
            box = {side.tag: int(side.text) for side in node.find('bndbox')}
            assert 0 <= box['xmin'] < box['xmax'] < width
            assert 0 <= box['ymin'] < box['ymax'] < height


def test_goes_through_the_converters(sample, converted):
    _, reports = sample
    for split, name in (
        ('train', 'imagenet_vid_train'),
        ('val', 'imagenet_vid_val'),
        ('det', 'imagenet_det_30plus1cls'),
    ):
        data, report = converted[name], reports[split]
        names = {category['id']: category['name'] for category in data['categories']}
        assert len(data['images']) == report.frames
        assert Counter(names[a['category_id']] for a in data['annotations']) == report.boxes
    keys = [i for i in converted['imagenet_vid_train']['images'] if i['is_vid_train_frame']]
    assert len(keys) == 6 * 4


def loop_motion(data):
    """Mean IoU with the same track up to ten frames away, one pair at a time."""
    frame_of = {image['id']: image['frame_id'] for image in data['images']}
    tracks = defaultdict(dict)
    for annotation in data['annotations']:
        track = tracks[annotation['instance_id']]
        track[frame_of[annotation['image_id']]] = annotation['bbox']
    values = []
    for track in tracks.values():
        for frame, (x, y, w, h) in track.items():
            ious = []
            for other in range(frame - 10, frame + 11):
                if other == frame or other not in track:
                    continue
                ox, oy, ow, oh = track[other]
                iw = max(0, min(x + w, ox + ow) - max(x, ox))
                ih = max(0, min(y + h, oy + oh) - max(y, oy))
                ious.append(iw * ih / (w * h + ow * oh - iw * ih))
            values.append(np.mean(ious) if ious else 1.0)
    return np.array(values)


def test_all_motion_bins_are_filled(sample, converted):
    for split in ('train', 'val'):
        motion = loop_motion(converted[f'imagenet_vid_{split}'])
        counts = {
            'slow': (motion >= 0.9).sum(),
            'medium': ((motion >= 0.7) & (motion < 0.9)).sum(),
            'fast': (motion < 0.7).sum(),
        }
        assert counts == dict(sample[1][split].motion)
        assert min(counts.values()) >= 0.15 * len(motion), counts


@pytest.mark.parametrize('split', ['train', 'val'])
def test_degraded_frames_are_listed_and_lie_between_clear_ones(sample, split):
    root, reports = sample
    listed = rows(root, f'VID_{split}_degraded.txt')
    assert Counter(kind for _, kind in listed) == reports[split].degraded
    assert 0.15 < len(listed) / reports[split].frames < 0.45
    assert {kind for _, kind in listed} == set(KINDS)
    by_video = defaultdict(list)
    for name, _ in listed:
        assert (root / 'Data/VID' / f'{name}.JPEG').is_file()
        video, frame = name.rsplit('/', 1)
        by_video[video].append(int(frame))
    for frames in by_video.values():
        gaps = [b - a for a, b in pairwise(frames) if b - a > 1]
        assert all(gap > 5 for gap in gaps)
        runs = np.split(frames, [i + 1 for i, (a, b) in enumerate(pairwise(frames)) if b - a > 1])
        assert all(3 <= len(run) <= 6 for run in runs)


def test_degraded_frames_look_different(sample):
    """Sharpness of a blurred frame is well below that of the same video's clear frames."""
    root, _ = sample
    kinds = dict(rows(root, 'VID_val_degraded.txt') + rows(root, 'VID_train_degraded.txt'))

    def sharpness(name):
        image = cv2.imread(str(root / 'Data/VID' / f'{name}.JPEG'), cv2.IMREAD_GRAYSCALE)
        return cv2.Laplacian(image, cv2.CV_64F).var()

    checked = Counter()
    for name, kind in kinds.items():
        clear = [
            other
            for i in range(60)
            if (other := f'{name.rsplit("/", 1)[0]}/{i:06d}') not in kinds
            and (root / 'Data/VID' / f'{other}.JPEG').is_file()
        ]
        ratio = sharpness(name) / np.median([sharpness(other) for other in clear[:4]])
        checked[kind] += 1
        assert kind not in ('motion_blur', 'defocus') or ratio < 0.75, name
        assert kind != 'noise' or ratio > 2, name
    assert set(checked) == set(KINDS)


def test_stretches_keep_clear_frames_between_and_stay_inside():
    for seed in range(50):
        stretches = plan_stretches(30, list(KINDS), np.random.default_rng(seed))
        assert 2 <= len(stretches) <= 4
        assert all(3 <= s.stop - s.start <= 6 and s.stop <= 30 for s in stretches)
        assert all(b.start - a.stop >= 5 for a, b in pairwise(stretches))
        middle = stretches[0].at(stretches[0].start + 1)
        assert 0 < stretches[0].at(stretches[0].start) < middle <= 1
        assert stretches[0].at(stretches[0].stop) == 0


@pytest.mark.parametrize('kind', ['motion_blur', 'defocus'])
def test_blur_keeps_brightness_and_spreads_a_point(kind):
    image = np.zeros((64, 64, 3), np.uint8)
    image[30:34, 30:34] = 255
    blurred = degrade(image, Stretch(kind, 0, 3, 1.0, 0.0), 1, np.random.default_rng(0))
    assert blurred.sum() == pytest.approx(image.sum(), rel=0.1)
    ys, xs = np.nonzero(blurred[..., 0] > 5)
    assert np.ptp(xs) > 12
    assert np.ptp(ys) < 6 if kind == 'motion_blur' else np.ptp(ys) > 12


def test_cover_hides_most_of_the_box_and_little_else():
    box = np.array([40.0, 30.0, 120.0, 90.0])
    image = np.zeros((128, 192, 3), np.uint8)
    cover(image, box, Stretch('occlusion', 0, 3, 1.0, 0.0), 1, np.full((96, 96, 3), 9, np.uint8))
    hidden = image[..., 0] == 9
    inside = hidden[30:90, 40:120].mean()
    assert 0.6 < inside < 1
    assert hidden.sum() < 1.3 * 80 * 60


@pytest.mark.parametrize('name', DRAWERS)
def test_sprites_vary_and_their_hull_bounds_them(name):
    sprites = [make_sprite(name, np.random.default_rng(seed)) for seed in range(2)]
    assert not np.array_equal(sprites[0].image, sprites[1].image)
    for sprite in sprites:
        assert (sprite.image[..., :3] <= sprite.image[..., 3:]).all()  # premultiplied
        ys, xs = np.nonzero(sprite.image[..., 3] > 127)
        bounds = np.concatenate([sprite.hull.min(0), sprite.hull.max(0)]) - 0.5
        assert bounds.tolist() == [xs.min(), ys.min(), xs.max(), ys.max()]
        assert sprite.extent > 180  # fills the canvas


def test_rendered_object_fills_its_box():
    """Against the pixels themselves: paste on black and compare what is lit with the box."""
    from mmdet.programs.sample.scene import _paste

    for seed, name in enumerate(DRAWERS):
        track = make_track(name, 'medium', 9, (320, 192), np.random.default_rng(seed))
        track.x[:], track.y[:] = 160, 96
        image = np.zeros((192, 320, 3), np.uint8)
        _paste(image, track, 4, track.box(4))
        ys, xs = np.nonzero(image.max(axis=2) > 20)
        lit = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        # the hull of a turned sprite can reach a little beyond what its corners light
        assert np.abs(track.box(4) - lit).max() < 4, name


@pytest.mark.parametrize('flip', [False, True])
def test_placement_keeps_upright_and_centred(flip):
    track = make_track('zebra', 'slow', 5, (320, 192), np.random.default_rng(1))
    track.flip, track.angle[:] = flip, 0
    matrix = track.placement(2)
    scale = track.scale[2]
    np.testing.assert_allclose(matrix[:, :2], [[-scale if flip else scale, 0], [0, scale]])
    box = track.box(2)
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [track.x[2], track.y[2]])


@pytest.mark.parametrize(('speed', 'low', 'high'), [('slow', 0.88, 1), ('fast', 0, 0.72)])
def test_speeds_mean_motion_iou(speed, low, high):
    values = []
    for seed in range(12):
        track = make_track('turtle', speed, 24, (320, 192), np.random.default_rng(seed))
        boxes = [track.box(frame) for frame in range(24)]
        data = {'images': [], 'annotations': []}
        for i, (x1, y1, x2, y2) in enumerate(boxes):
            data['images'].append({'id': i, 'frame_id': i})
            box = [x1, y1, x2 - x1, y2 - y1]
            data['annotations'].append({'image_id': i, 'instance_id': 0, 'bbox': box})
        values.append(np.median(loop_motion(data)))
    assert low <= np.median(values) <= high
    assert set(SPEEDS) == {'slow', 'medium', 'fast'}


def test_visible_box():
    size = (320, 192)
    assert visible_box(np.array([10.4, 20.6, 50.0, 60.0]), size) == (10, 21, 50, 60)
    assert visible_box(np.array([-20.0, 0.0, 40.0, 40.0]), size) == (0, 0, 40, 40)
    assert visible_box(np.array([-50.0, 0.0, 10.0, 40.0]), size) is None  # a sixth is seen
    assert visible_box(np.array([330.0, 0.0, 390.0, 40.0]), size) is None


def test_canvas_alpha_and_colours():
    canvas = Canvas()
    canvas.polygon([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], hsv(0, 1, 1))
    assert canvas.image[128, 128].tolist() == [0, 0, 255, 255]  # hue 0 is red, in BGR
    assert canvas.image[10, 10].tolist() == [0, 0, 0, 0]
    canvas.shade(np.full((256, 256), 3.0, np.float32))
    assert canvas.image[128, 128].tolist() == [0, 0, 255, 255]
    canvas.recolor(np.ones((256, 256), bool), (1, 2, 3))
    assert canvas.image[128, 128].tolist() == [1, 2, 3, 255]
    assert canvas.image[10, 10].tolist() == [0, 0, 0, 0]


def test_replaces_an_earlier_sample_but_nothing_else(tmp_path):
    spec = SampleSpec(seed=0, train_videos=1, val_videos=1, det_images=1)
    make_sample_vid(tmp_path, SampleSpec(seed=0, train_videos=2, val_videos=1, det_images=2))
    make_sample_vid(tmp_path, spec)
    fresh = tmp_path / 'fresh'
    make_sample_vid(fresh, spec)
    fresh_files = digest(fresh)
    assert {k: v for k, v in digest(tmp_path).items() if not k.startswith('fresh')} == fresh_files
    (fresh / 'sample_vid.json').unlink()
    with pytest.raises(FileExistsError, match='Annotations exists and is not a sample'):
        make_sample_vid(fresh, spec)
    assert digest(fresh).keys() == fresh_files.keys() - {'sample_vid.json'}
    with pytest.raises(ValueError, match='at least one of each'):
        make_sample_vid(tmp_path / 'x', SampleSpec(val_videos=0))
    assert not (tmp_path / 'x').exists()


def test_command_line(repo, tmp_path):
    command = [sys.executable, str(repo / 'tools/make_sample_vid.py'), '-o', str(tmp_path / 'out')]
    options = ['--seed', '5', '--videos', '1', '1', '--images', '1']
    done = subprocess.run(command + options, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'slow' in done.stdout and 'motion_blur' in done.stdout
    assert json.loads((tmp_path / 'out/sample_vid.json').read_text())['seed'] == 5
    failed = subprocess.run(
        command + ['--videos', '0', '1'], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1 and failed.stderr.startswith('error: Needs at least one')
