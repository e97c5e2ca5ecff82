"""Samples through data loaders: workers, ranks, resuming; and files that are missing or broken."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.runner import Runner
from tiny_cocovid import ANNOTATIONS, LOAD, PACK, on_tiny_sets, picture, write_video_set

from mmdet.core.errors import UndecodableFrameError
from mmdet.datasets import ImagenetVIDDataset, coco_video_dataset, frame_faults
from mmdet.datasets.frame_faults import FrameFaults

RESIZE = dict(type='Resize', scale=(100, 60), keep_ratio=True)
TRAIN = [LOAD, ANNOTATIONS, RESIZE, dict(type='RandomFlip', prob=0.5), PACK]


@pytest.fixture
def messages(monkeypatch) -> list[str]:
    """What is logged."""
    texts = []
    for module in (coco_video_dataset, frame_faults):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: texts.append(text))
    return texts


@pytest.fixture
def train_set(tmp_path) -> partial:
    files = write_video_set(tmp_path / 'train', test=False)
    return partial(ImagenetVIDDataset, pipeline=TRAIN, **files)


def frame_path(train_set: partial, frame: int) -> Path:
    """Of the first video."""
    return Path(train_set.keywords['img_prefix']) / f'tiny/video_1/{frame:06d}.JPEG'


def facts(batches) -> list:
    """Everything of a batch that a model can see."""
    of_frame = lambda f: (f.path, f.flip, f.boxes.tolist(), f.instance_ids.tolist())  # noqa: E731
    return [
        [(clip.images.numpy().tobytes(), list(map(of_frame, clip.frames))) for clip in batch]
        for batch in batches
    ]


def test_samples_do_not_depend_on_the_workers(repo, tmp_path):
    config = on_tiny_sets(repo / 'configs/_base_/datasets/sample_vid_multi_frame.py', tmp_path)
    loader = dict(config.train_dataloader, batch_size=2)
    alone, shared_out = (
        Runner.build_dataloader(dict(loader, num_workers=number), seed=3) for number in (0, 2)
    )
    for loader in (alone, shared_out):
        loader.batch_sampler.set_position(4)
    np.random.seed(5)
    expected = facts(alone)
    # 7 wide and 1 high clips of videos, 2 wide and 2 other images
    assert len(expected) == 7 == len(alone) and all(len(batch) == 2 for batch in expected)
    assert facts(shared_out) == expected
    shared_out.batch_sampler.set_position(4, start_batch=2)
    assert facts(shared_out) == expected[2:]
    shared_out.batch_sampler.set_position(5)
    assert facts(shared_out) != expected


def test_undecodable_frame_is_fatal_in_testing_and_replaced_in_training(train_set, messages):
    frame_path(train_set, 20).write_bytes(b'')
    with pytest.raises(UndecodableFrameError, match=r'decode .*video_1/000020\.JPEG') as caught:
        train_set(test_mode=True)[20]
    # a data loader rebuilds the errors of its workers from their text
    assert '000020.JPEG' in str(UndecodableFrameError(str(caught.value)))
    dataset = train_set()
    keys = dataset.index.image_frame_ids[dataset.positions]
    broken = int(np.flatnonzero(keys == 20)[0])
    drawn = [dataset[(broken, seed)].key for seed in range(60)]
    assert all(key.ori_shape[1] > key.ori_shape[0] for key in drawn)  # same orientation
    ids = [key.image_id for key in drawn]
    assert len(set(ids)) == 6  # any of the others
    assert [dataset[(broken, seed)].key.image_id for seed in range(60)] == ids
    assert len(messages) == 1 and '000020.JPEG' in messages[0]
    with pytest.raises(RuntimeError, match=r'20 samples of .*ann\.json in a row'):
        train_set(pipeline=[lambda clip, rng: None])[0]


def test_too_many_faults_are_fatal(messages):
    def fault(faults, name='a'):
        faults.add_fault(UndecodableFrameError(f'Cannot decode {name}', name))

    few = FrameFaults()
    for i in range(500):  # one file again and again, and few samples
        few.add_sample()
        fault(few, f'{i % 10}')
    with pytest.raises(RuntimeError, match=r'501 of 500 .*11 files, the last one x.*0\.1%'):
        fault(few, 'x')
    assert len(messages) == 11


def test_a_missing_file_names_path_entry_and_prefix(train_set):
    frame_path(train_set, 5).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        train_set()[1]
    message, files = str(caught.value), train_set.keywords
    assert 'video_1/000005.JPEG does not exist (image id 6 of' in message
    assert files['ann_file'] in message and repr(files['img_prefix']) in message


def test_size_that_is_not_the_annotated_one(train_set, messages):
    cv2.imwrite(str(frame_path(train_set, 5)), picture(0, 48, 64))
    assert train_set()[1].key.ori_shape == (64, 48)
    assert len(messages) == 1 and '48x64, but' in messages[0] and '64x48' in messages[0]
    with pytest.raises(ValueError, match=r'is 48x64, but .* says 64x48 for image id 6'):
        train_set(test_mode=True)[5]
