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
    image = np.array([3, 0, 0, 2, 3, 0, 3])
    label = np.array([0, 1, 0, 1, 1, 1, 0])
    boxes = rng.uniform(0, 50, (7, 4))
    boxes[:, 2:] += boxes[:, :2]
    return DetectionArrays.from_rows(image, label, np.c_[boxes, rng.random(7)])


def assert_equal(a, b, atol=0.0):
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.label, b.label)
    np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=atol)
    np.testing.assert_array_equal(a.score, b.score)


def test_order_is_by_image_then_class_then_as_given(detections):
    assert detections.image.tolist() == [0, 0, 0, 2, 3, 3, 3]
    assert detections.label.tolist() == [0, 1, 1, 1, 0, 0, 1]
    given = DetectionArrays.from_rows([1, 1, 0], [0, 0, 0], np.eye(3, 5))
    assert given.boxes.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_lists_and_back(detections):
    lists = to_lists(detections, 4, 3)
    assert [[len(a) for a in per_class] for per_class in lists] == [
        [1, 2, 0],
        [0, 0, 0],
        [0, 1, 0],
        [2, 1, 0],
    ]
    assert all(a.dtype == np.float32 and a.shape[1] == 5 for image in lists for a in image)
    assert_equal(from_lists(lists, 4, 3), detections)
    some = detections.select_images(np.array([1, 3]))
    assert some.image.tolist() == [1, 1, 1] and some.label.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(some.boxes, detections.boxes[4:])


# --- .pkl ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('protocol', [None, *range(6)])
def test_pickles_of_ours_and_of_any_protocol(detections, tmp_path, protocol):
    """A list over images of lists over classes; numpy 1 names its modules otherwise."""
    path = tmp_path / 'r.pkl'
    if protocol is None:
        write_pkl(path, detections, 4, 3)
        results = pickle.loads(path.read_bytes())
        assert type(results) is list and [type(r) for r in results] == [list] * 4
        assert results[3][0].dtype == np.float32 and results[1][2].shape == (0, 5)
    else:
        lists = to_lists(detections, 4, 3)
        lists[0] = [a.astype(np.float64) for a in lists[0]]
        written = pickle.dumps(lists, protocol)
        path.write_bytes(
            written.replace(b'numpy._core', b'numpy.core') if protocol == 2 else written
        )
    assert_equal(read_pkl(path, 4, 3), detections)


class Attack:
    def __reduce__(self):
        return eval, ('print("run")',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (pickle.dumps([[Attack()]]), r'it holds a builtins\.eval'),
        (pickle.dumps([[torch.zeros(1, 5)]]), r'it holds a torch\.'),
        (pickle.dumps({'det_bboxes': []}), 'it holds a dict'),
        (pickle.dumps([1, 2]), 'not a list over images'),
        (b'', 'is not a results file'),
        (b'{"a": 1}', 'is not a results file'),
        (pickle.dumps([np.zeros((2, 5))])[:-20], 'is not a results file'),
    ],
)
def test_foreign_pickles_are_refused(tmp_path, content, message, capsys):
    (tmp_path / 'r.pkl').write_bytes(content)
    with pytest.raises(EvaluationError, match=message):
        read_pkl(tmp_path / 'r.pkl', 1, 1)
    assert 'run' not in capsys.readouterr().out


BROKEN = np.array([[0, 0, 1, 1, 0.5], [0, 0, np.inf, 1, np.nan]])


@pytest.mark.parametrize(
    ('lists', 'images', 'classes', 'message'),
    [
        ([[np.zeros((1, 5))] * 3] * 4, 5, 3, r'hold 4 images, but .* has 5.*Check'),
        ([[np.zeros((1, 5))] * 3] * 4, 4, 30, r'hold 3 classes \(image 1 of 4\), but 30 are'),
        ([[np.zeros((2, 4))]], 1, 1, r'shape \(n, 4\).*Legal: .*\(n, 5\)'),
        (
            [[np.zeros((2, 5)), np.zeros((2, 6))]],
            1,
            2,
            r'\(n, 6\) for image number 1',
        ),
        ([[BROKEN]], 1, 1, r'1 detections with numbers that are not finite'),
        *(
            (
                [[np.zeros((1, 5))], [entry]],
                2,
                1,
                r'image number 2 .*class number 1\. Legal',
            )
            for entry in ({}, None, 'text', [], 3, np.float32(1), np.zeros(()))
        ),
    ],
)
def test_lists_that_do_not_fit(lists, images, classes, message):
    with pytest.raises(EvaluationError, match=message):
        from_lists(lists, images, classes)


def test_no_half_written_file(detections, tmp_path):
    (tmp_path / 'r.pkl').write_text('before')
    broken = DetectionArrays(*[None] * 4)
    with pytest.raises(TypeError):
        write_pkl(tmp_path / 'r.pkl', broken, 4, 3)
    assert (tmp_path / 'r.pkl').read_text() == 'before'
    assert [p.name for p in tmp_path.iterdir()] == ['r.pkl']


# --- COCO .json ----------------------------------------------------------------------------------

IDS, CATEGORIES = np.array([2, 5, 6, 9]), (7, 3, 4)


def test_a_coco_json(detections, tmp_path, monkeypatch):
    monkeypatch.setattr('mmdet.evaluation.results.IMAGES_AT_ONCE', 2)
    write_coco_json(tmp_path / 'r.json', detections, IDS, CATEGORIES)
    entries = json.loads((tmp_path / 'r.json').read_text())
    assert [e['image_id'] for e in entries] == [2, 2, 2, 6, 9, 9, 9]
    assert [e['category_id'] for e in entries] == [7, 3, 3, 3, 7, 7, 3]
    x1, y1, x2, y2 = detections.boxes[0].astype(float)
    np.testing.assert_allclose(entries[0]['bbox'], [x1, y1, x2 - x1, y2 - y1], atol=1e-4)
    found = read_coco_json(tmp_path / 'r.json', IDS, CATEGORIES)
    assert_equal(found, detections, atol=2e-4)
    write_coco_json(tmp_path / 'r.json', detections.select_images(np.array([1])), IDS, CATEGORIES)
    assert json.loads((tmp_path / 'r.json').read_text()) == []
    assert len(read_coco_json(tmp_path / 'r.json', IDS, CATEGORIES)) == 0


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[{', 'is not JSON'),
        ('[' * 100_000, 'nested too deeply'),
        ('{}', 'it holds a dict'),
        ('[{"image_id": 2}]', "not a COCO results file.*'category_id'"),
        ({'image_id': 2.7}, 'image_id must be a whole number, not a float'),
        ({'image_id': 10**30}, 'not a COCO results file .OverflowError'),
        ({'bbox': [0, 0, 1, '1']}, 'must be numbers, not a str'),
        ({'bbox': [0, 0, 1]}, 'a list of 4 numbers'),
        ({'image_id': 8}, r'image ids 8 \(1 in all\) are not in .*, which has 2 to 9'),
        ({'category_id': 9}, 'category ids 9'),
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
