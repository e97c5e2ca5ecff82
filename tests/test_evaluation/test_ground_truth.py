"""Which objects and which frames are scored."""

import json

import numpy as np
import pytest
from eval_files import TWO_VIDEOS, cocovid

from mmdet.core.errors import ConfigError, EvaluationError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.frame_list import read_frame_list
from mmdet.evaluation.ground_truth import ground_truth


@pytest.fixture
def index(tmp_path):
    return CocoVideoIndex.open(cocovid(tmp_path / 'a.json', TWO_VIDEOS))


def test_arrays_and_their_classes(index):
    truth = ground_truth(index)
    assert truth.classes == ('a', 'b') and truth.category_ids == (1, 2)
    assert truth.image.tolist() == [0, 0, 1, 3, 4] and truth.label.tolist() == [0, 1, 0, 1, 1]
    assert truth.boxes.dtype == np.float32 and truth.boxes[1].tolist() == [50, 40, 80, 60]
    assert truth.motion is None
    some = ground_truth(index, motion=np.arange(5) / 10).select_images(np.array([1, 4]))
    assert some.image_ids.tolist() == [2, 5] and some.image.tolist() == [0, 1]
    assert some.motion.tolist() == [0.2, 0.4]
    assert ground_truth(index, 'b').category_ids == (2,)
    assert ground_truth(index, ['b']).label.tolist() == [0, 0, 0]
    assert ground_truth(index, ['b', 'a']).label.tolist() == [1, 0, 1, 0, 0]
    with pytest.raises(ConfigError, match=r"no category 'zebra'.*categories: a, b"):
        ground_truth(index, ['a', 'zebra'])


OMITTED = [
    *({'bbox': [10, 10, 0.9, 20], 'area': 18}, {'bbox': [10, 10, 20, 0.9], 'area': 18}),
    *({'bbox': [100, 10, 20, 20]}, {'bbox': [-20, 10, 20, 20]}, {'bbox': [10, 80, 20, 20]}),
    *({'area': 0}, {'ignore': True}),
]
KEPT = [
    *({'bbox': [-19, -19, 20, 20]}, {'bbox': [99, 79, 20, 20]}, {'iscrowd': True}),
    {'bbox': [10, 10, 1, 1], 'area': 1},
]


@pytest.mark.parametrize('change', OMITTED + KEPT)
def test_what_is_omitted(tmp_path, change):
    path = cocovid(tmp_path / 'a.json', {'one': [[('a', 1, (10, 10, 20, 20))]]})
    data = json.loads(path.read_text())
    data['annotations'][0].update(change)
    path.write_text(json.dumps(data))
    truth = ground_truth(CocoVideoIndex.open(path), motion=np.array([0.5]))
    assert len(truth.label) == len(truth.motion) == (change in KEPT)
    x, y, w, h = data['annotations'][0]['bbox']
    assert truth.boxes.tolist() == [[x, y, x + w, y + h]] * (change in KEPT)  # not clipped
    assert truth.crowd.any() == ('iscrowd' in change)


def test_a_frame_list(index, tmp_path):
    path = tmp_path / 'frames.txt'
    path.write_text('# worst\nval/two 1\n\nval/one/000001.JPEG\nval/two 1\n val/one 0\n')
    assert read_frame_list(path, index).tolist() == [1, 2, 5]
    path.write_text('val/one/000001 noise\nval/two/000001\n')  # rows of an ILSVRC list
    assert read_frame_list(path, index).tolist() == [2, 5]
    for text, message in (
        ('val/one 0\nval/one 3', r"line 2: 'val/one 3' is no frame of .*val/one has 3 frames"),
        ('val/onee 0', r"Did you mean 'val/one'"),
        ('val/one -1', 'is no frame of'),
        ('# nothing\n', 'names no frame'),
    ):
        path.write_text(text)
        with pytest.raises(EvaluationError, match=message):
            read_frame_list(path, index)
