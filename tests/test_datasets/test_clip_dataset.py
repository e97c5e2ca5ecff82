"""Datasets: which samples, which references, which ground truth."""

import json
import pickle
import random
import zlib
from functools import partial

import numpy as np
import pytest
from tiny_cocovid import (
    ANNOTATIONS,
    BILATERAL,
    COPIES,
    LENGTHS,
    LOAD,
    PACK,
    TRAIN_FRAMES,
    write_image_set,
    write_video_set,
)

from mmdet.datasets import ConcatDataset, ImagenetVIDDataset
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES
from mmdet.plans import past_window

ADAPTIVE = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')


@pytest.fixture(scope='module')
def train_set(tmp_path_factory) -> partial:
    files = write_video_set(tmp_path_factory.mktemp('train'), test=False)
    return partial(ImagenetVIDDataset, pipeline=[], **files)


@pytest.fixture(scope='module')
def image_set(tmp_path_factory) -> partial:
    files = write_image_set(tmp_path_factory.mktemp('images'))
    return partial(ImagenetVIDDataset, pipeline=[], **files)


def places(dataset) -> list[tuple[int, int]]:
    """(video id, frame id) of every sample."""
    keys = [dataset.clip_of(i, np.random.default_rng(0)).key for i in range(len(dataset))]
    return [(key.video_id, key.frame_id) for key in keys]


def test_training_takes_flagged_frames_with_objects(train_set):
    dataset = train_set()
    # frame 3 of video 1 has no object; frame 5 keeps its good box
    expected = [(v, f) for v, frames in TRAIN_FRAMES.items() for f in frames if (v, f) != (1, 3)]
    assert places(dataset) == expected
    assert dataset.aspect_flags.tolist() == [1] * 5 + [0] + [1] * 2
    assert dataset.video_lengths is None
    refs = train_set(ref_img_sampler=BILATERAL)
    seen = {tuple(f.frame_id for f in refs[(3, seed)].frames) for seed in range(99)}  # frame 20
    assert all(11 <= before < key == 20 < after <= 29 for key, before, after in seen)
    assert [f.frame_id for f in refs[(5, 0)].frames] == [0, 0, 0]  # the video of one frame
    assert (1, 3) in places(train_set(filter_empty=False))
    assert {video for video, _ in places(train_set(min_size=41))} == {1}  # 96x40, 40x56 go
    with pytest.raises(ValueError, match='no training frame left: of 46 frames 9 have'):
        train_set(min_size=400)


def test_testing_takes_every_frame_in_order(train_set):
    dataset = train_set(test_mode=True)
    assert places(dataset) == [(v, f) for v, n in enumerate(LENGTHS, start=1) for f in range(n)]
    assert dataset.video_lengths.tolist() == list(LENGTHS)
    assert [dataset[i].key.image_id for i in range(46)] == list(range(1, 47))
    key = dataset[41].key
    assert (key.video_length, key.ori_shape) == (5, (40, 96))


def test_sliding_window_refuses_shuffled_frames(train_set):
    window = dict(num_ref_imgs=6, frame_range=[-3, 3], method='test_with_fix_stride')
    with pytest.raises(ValueError, match='shuffle_video_frames=False'):
        train_set(test_mode=True, ref_img_sampler=window, shuffle_video_frames=True)
    dataset = train_set(test_mode=True, ref_img_sampler=window)
    assert [(f.role, f.frame_id) for f in dataset[1].frames] == [('key', 1), ('window', 4)]
    dataset.use_plan(past_window(None))
    assert [len(dataset[i].refs) for i in (0, 1, 10)] == [15, 0, 1]


def test_ground_truth_leaves_out_what_cannot_be_learnt(train_set):
    dataset = train_set(pipeline=[ANNOTATIONS], test_mode=True)

    def truth(frame):
        key = dataset[frame].key
        return key.boxes.tolist(), key.instance_ids.tolist(), key.boxes_ignore.tolist()

    assert truth(2) == ([[5, 6, 25, 22]], [1], [])
    assert truth(3) == ([], [], [])
    assert truth(5) == ([[6.5, 6, 26.5, 22]], [1], [])  # not the box without width
    assert truth(7) == ([[7.5, 6, 27.5, 22]], [1], [[1, 2, 31, 22]])  # a crowd
    assert truth(9) == ([[8.5, 6, 28.5, 22], [-7, 4, 13, 64]], [1, 50], [])  # not clipped
    key = dataset[2].key
    assert key.labels.tolist() == [4]
    swapped = train_set(pipeline=[ANNOTATIONS], classes=('turtle', 'bird'))  # by their names
    assert swapped.classes == ('turtle', 'bird') and swapped[0].key.labels.tolist() == [1]
    with pytest.raises(ValueError, match=r"ann.json has no category 'unicorn'.*airplane, antelope"):
        train_set(classes=('bird', 'unicorn'))
    assert (key.boxes.dtype, key.labels.dtype) == (np.float32, np.int64)


def test_images_are_their_own_references(image_set):
    arguments = dict(load_as_video=False, ref_img_sampler=COPIES)
    dataset = image_set(**arguments, pipeline=[LOAD, ANNOTATIONS, PACK])
    # image 2 has foreign objects only, image 6 is not for training
    assert [dataset[i].key.image_id for i in range(len(dataset))] == [1, 3, 4, 5]
    assert dataset.aspect_flags.tolist() == [1, 0, 1, 0]  # image 3 is square
    clip = dataset[1]
    assert [frame.image_id for frame in clip.frames] == [3, 3, 3]
    assert clip.images.shape == (1, 55, 55, 3) and clip.rows == [0, 0, 0]
    assert clip.key.instance_ids.tolist() == [0, 1] and clip.key.labels.tolist() == [26, 4]
    whole = image_set(**arguments, test_mode=True)
    assert whole.video_lengths is None
    assert [whole[i].key.video_id for i in range(len(whole))] == [1, 2, 3, 4, 5, 6]


def test_a_file_without_videos_says_what_to_set(image_set):
    with pytest.raises(ValueError, match=r'load_as_video=False.*load_img_as_vid=True'):
        image_set()
    dataset = image_set(load_img_as_vid=True, test_mode=True, ref_img_sampler=ADAPTIVE)
    assert dataset.video_lengths.tolist() == [1] * 6
    assert [frame.frame_id for frame in dataset[2].frames] == [0] * 15


def test_a_pickled_dataset_mixes_the_same_samples_into_a_clip(train_set):
    """The annotations stay behind."""
    steps = [LOAD, ANNOTATIONS, dict(type='Mosaic', size=64), PACK]
    mixed = train_set(pipeline=steps, ref_img_sampler=BILATERAL)
    data = pickle.dumps(mixed)
    assert len(data) < 4000  # the annotations alone are larger
    clip, again = mixed[(2, 5)], pickle.loads(data)[(2, 5)]
    assert clip.images.shape[1:] == (128, 128, 3) and (clip.images == again.images).all()
    assert len(clip.frames) == 3 and len(clip.key.boxes) >= 4
    assert (clip.key.boxes == again.key.boxes).all()


def test_concatenation(train_set, image_set):
    video = train_set(pipeline=[ANNOTATIONS])
    images = dict(image_set.keywords, type='ImagenetVIDDataset', load_as_video=False)
    both = ConcatDataset([video, images])
    assert len(both) == 8 + 4
    assert both.aspect_flags.tolist() == [1] * 5 + [0, 1, 1] + [1, 0, 1, 0]
    assert both.classes == IMAGENET_VID_CLASSES and both.metainfo['classes'] == both.classes
    paths = [both[(i, 0)].key.path for i in range(12)]
    assert ['video_' in path for path in paths] == [True] * 8 + [False] * 4
    assert len(set(paths)) == 12
    with pytest.raises(ValueError, match=r'same classes.*bird'):
        ConcatDataset([video, dict(images, classes=['bird'])])


def test_golden_test_set(shared, tmp_path):
    """Reference ids, shuffled order, ground truth and decoded pixels of the original."""
    golden = json.loads((shared / 'golden/train/data.json').read_text())
    root = shared / 'golden/video/ILSVRC'
    files = dict(ann_file=root / 'annotations/imagenet_vid_val.json', img_prefix=root / 'Data/VID')
    open_set = partial(ImagenetVIDDataset, **files, test_mode=True, cache_dir=tmp_path)
    starts = dict(A=0, B=12, C=20)
    steps = [LOAD, ANNOTATIONS, dict(type='Resize', scale=(1000, 600), keep_ratio=True), PACK]
    dataset = open_set(pipeline=steps, ref_img_sampler=ADAPTIVE)
    for video, start in starts.items():
        refs = dataset[start].refs
        assert [r.frame_id for r in refs] == golden['test_with_adaptive_stride']['frame0'][video]
    for name, facts in golden['test_pipeline'].items():
        frame, _, scale = name.partition('@')
        dataset.pipeline.transforms[2].scale = tuple(map(int, scale.split('x')))
        clip = dataset[starts[frame[0]] + int(frame[2:])]
        assert list(clip.key.ori_shape) == facts['ori_shape'][:2]
        assert list(clip.key.img_shape) == facts['img_shape'][:2]
        assert np.allclose(clip.key.scale_factor, facts['scale_factor'][:2], rtol=1e-8)
        assert zlib.crc32(clip.images[0].numpy().tobytes()) == facts['crc32_resized_bgr_uint8']
    state = random.getstate()
    shuffled = open_set(pipeline=[], shuffle_video_frames=True)
    order = golden['shuffle_video_frames_true']['frame_order_with_python_random_seed_10']
    assert [f for _, f in places(shuffled)] == order['A'] + order['B'] + order['C']
    assert random.getstate() == state  # the global generator is left alone
    plain = open_set(pipeline=[LOAD, ANNOTATIONS])
    for name, facts in golden['gt_parse'].items():
        key = plain[starts[name[0]] + int(name[2:])].key
        found = dict(bboxes=key.boxes, labels=key.labels, instance_ids=key.instance_ids)
        assert {field: values.tolist() for field, values in found.items()} == facts
    decoded = golden['test_pipeline']['A/000000@1000x600']['crc32_decoded_bgr_uint8']
    assert zlib.crc32(plain[0].key.image.tobytes()) == decoded
