"""Detections as arrays, nested lists and files; foreign files are refused and run nothing."""

import json
import pickle

import numpy as np
import pytest
import torch

from mmdet.core.errors import EvaluationError
from mmdet.evaluation.results import (
    DetectionArrays,
    from_lists,
    read_coco_json,
    read_pkl,
    to_lists,
    write_coco_json,
    write_pkl,
)


@pytest.fixture
def detections():
    """4 images, 3 classes; image 1 and class 2 are empty."""
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 50, (7, 4))
    boxes[:, 2:] += boxes[:, :2]
    image, label = np.array([3, 0, 0, 2, 3, 0, 3]), np.array([0, 1, 0, 1, 1, 1, 0])
    return DetectionArrays.from_rows(image, label, np.c_[boxes, rng.random(7)])


def assert_equal(a, b, atol=0.0):
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.label, b.label)
    np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=atol)
    np.testing.assert_array_equal(a.score, b.score)


def test_our_pickle_is_a_list_over_images_of_lists_over_classes(detections, tmp_path):
    assert detections.image.tolist() == [0, 0, 0, 2, 3, 3, 3]
    assert detections.label.tolist() == [0, 1, 1, 1, 0, 0, 1]
    write_pkl(tmp_path / 'r.pkl', detections, 4, 3)
    lists = pickle.loads((tmp_path / 'r.pkl').read_bytes())
    assert type(lists) is list and {type(per_class) for per_class in lists} == {list}
    counts = [[len(a) for a in per_class] for per_class in lists]
    assert counts == [[1, 2, 0], [0, 0, 0], [0, 1, 0], [2, 1, 0]]
    assert all(a.dtype == np.float32 and a.shape[1] == 5 for image in lists for a in image)
    assert_equal(read_pkl(tmp_path / 'r.pkl', 4, 3), detections)


@pytest.mark.parametrize('protocol', [0, 2, 5])
def test_pickles_of_any_protocol_and_numpy_are_read(detections, tmp_path, protocol):
    lists = to_lists(detections, 4, 3)
    lists[0] = [a.astype(np.float64) for a in lists[0]]
    data = pickle.dumps(lists, protocol)
    if protocol == 2:  # numpy 1 names its modules otherwise
        data = data.replace(b'numpy._core', b'numpy.core')
    (tmp_path / 'r.pkl').write_bytes(data)
    assert_equal(read_pkl(tmp_path / 'r.pkl', 4, 3), detections)


class Attack:
    def __reduce__(self):
        return eval, ('print("run")',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (pickle.dumps([[Attack()]]), r'it holds a builtins\.eval'),
        (pickle.dumps([[torch.zeros(1, 5)]]), r'it holds a torch\.'),
        (pickle.dumps([1, 2]), 'not a list over images'),
        (pickle.dumps([np.zeros((2, 5))])[:-20], 'is not a results file'),
        (pickle.dumps([[]]) + pickle.dumps({'CLASSES': 3}), 'no class names'),
    ],
)
def test_foreign_pickles_are_refused(tmp_path, content, message, capsys):
    (tmp_path / 'r.pkl').write_bytes(content)
    with pytest.raises(EvaluationError, match=message):
        read_pkl(tmp_path / 'r.pkl', 1, 1)
    assert 'run' not in capsys.readouterr().out


ROW, BROKEN = np.zeros((1, 5)), np.array([[0, 0, 1, 1, 0.5], [0, 0, np.inf, 1, np.nan]])


@pytest.mark.parametrize(
    ('lists', 'images', 'classes', 'message'),
    [
        ([[ROW] * 3] * 4, 5, 3, r'hold 4 images, but .* has 5.*Check'),
        ([[ROW] * 3] * 4, 4, 30, r'hold 3 classes \(image 1 of 4\), but 30 are'),
        ([[ROW, np.zeros((2, 6))]], 1, 2, r'shape \(n, 6\) for image number 1'),
        ([[BROKEN]], 1, 1, r'1 detections with numbers that are not finite'),
        ([[ROW], [None]], 2, 1, r'image number 2 .*class number 1\. Legal'),
    ],
)
def test_lists_that_do_not_fit(lists, images, classes, message):
    with pytest.raises(EvaluationError, match=message):
        from_lists(lists, images, classes)


IDS, CATEGORIES = np.array([2, 5, 6, 9]), (7, 3, 4)


def test_a_coco_json(detections, tmp_path, monkeypatch):
    monkeypatch.setattr('mmdet.evaluation.results.IMAGES_AT_ONCE', 2)
    path = tmp_path / 'r.json'
    write_coco_json(path, detections, IDS, CATEGORIES)
    entries = json.loads(path.read_text())
    assert [e['image_id'] for e in entries] == [2, 2, 2, 6, 9, 9, 9]
    assert [e['category_id'] for e in entries] == [7, 3, 3, 3, 7, 7, 3]
    x1, y1, x2, y2 = detections.boxes[0].astype(float)
    np.testing.assert_allclose(entries[0]['bbox'], [x1, y1, x2 - x1, y2 - y1], atol=1e-4)
    assert_equal(read_coco_json(path, IDS, CATEGORIES), detections, atol=2e-4)
    write_coco_json(path, detections.select_images(np.array([1])), IDS, CATEGORIES)
    assert json.loads(path.read_text()) == []
    assert len(read_coco_json(path, IDS, CATEGORIES)) == 0


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{}', 'it holds a dict'),
        ('[{"image_id": 2}]', "not a COCO results file.*'category_id'"),
        ({'image_id': 2.7}, 'image_id must be a whole number, not a float'),
        ({'bbox': [0, 0, 1]}, 'a list of 4 numbers'),
        ({'image_id': 8}, r'image ids 8 \(1 in all\) are not in .*, which has 2 to 9'),
        ({'bbox': [0, 0, 1, float('nan')]}, 'not finite'),
    ],
)
def test_other_json(tmp_path, content, message):
    if isinstance(content, dict):
        entry = {'image_id': 2, 'category_id': 7, 'bbox': [0, 0, 1, 1], 'score': 1}
        content = json.dumps([entry | content])
    (tmp_path / 'r.json').write_text(content)
    with pytest.raises(EvaluationError, match=message):
        read_coco_json(tmp_path / 'r.json', IDS, CATEGORIES)
