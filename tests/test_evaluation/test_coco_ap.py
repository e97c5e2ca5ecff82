"""COCO AP, computed a class at a time, against faster-coco-eval given all boxes at once."""

import numpy as np
import pytest
from eval_files import truth_of
from faster_coco_eval import COCO, COCOeval_faster

from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.coco import coco_ap
from mmdet.evaluation.ground_truth import ground_truth
from mmdet.evaluation.results import DetectionArrays


def entries(of, truth, **columns):
    """A dict per box, as COCO files have them."""
    boxes = of.boxes.astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    categories = np.array(truth.category_ids)[of.label]
    columns = dict(
        image_id=truth.image_ids[of.image], category_id=categories, bbox=boxes, **columns
    )
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{'id': k, **dict(zip(columns, row, strict=True))} for k, row in enumerate(rows, 1)]


def assert_same(detections, truth):
    """All dicts at once: the summary, AP and AP50 per class."""
    gt = COCO()
    gt.dataset = {
        'images': [{'id': int(i)} for i in truth.image_ids],
        'categories': [{'id': c} for c in truth.category_ids],
        'annotations': entries(truth, truth, area=truth.area, iscrowd=truth.crowd.astype(int)),
    }
    gt.createIndex()
    dt = gt.loadRes(entries(detections, truth, score=detections.score.astype(float)))
    evaluation = COCOeval_faster(gt, dt, 'bbox', print_function=lambda *_: None)
    evaluation.run()
    precision = evaluation.eval['precision'][..., 0, -1]

    def means(precision):
        by_class = np.moveaxis(precision, -1, 0).reshape(len(truth.classes), -1)
        return [p[p > -1].mean() if (p > -1).any() else np.nan for p in by_class]

    found = coco_ap(detections, truth)
    summary = np.nan_to_num(list(found.summary.values()), nan=-1)
    np.testing.assert_allclose(summary, evaluation.stats[:6], atol=1e-12)
    np.testing.assert_allclose(found.ap, means(precision), atol=1e-12)
    np.testing.assert_allclose(found.ap50, means(precision[0]), atol=1e-12)


def test_golden_detections(shared, tmp_path):
    folder = shared / 'golden' / 'eval'
    index = CocoVideoIndex.open(folder / 'annotations.json', tmp_path)
    z = np.load(folder / 'detections.npz')
    detections = DetectionArrays.from_rows(z['frame'], z['label'], z['boxes'])
    assert coco_ap(detections, ground_truth(index)).summary['AP50'] == pytest.approx(0.53248265)


def random_set(seed, images=40, per_image=30, levels=15):
    """With ties, crowds, areas at a border, and a class without objects."""
    rng = np.random.default_rng(seed)
    gt = [[] for _ in range(images)]
    for objects in gt:
        for _ in range(rng.integers(0, 4)):
            (x, y), (w, h) = rng.integers(0, 60, 2), rng.choice([16, 32, 50, 96, 120], 2)
            objects.append((int(rng.integers(0, 2)), [x, y, x + w, y + h]))
    truth = truth_of(gt)
    truth.crowd[rng.random(len(truth.crowd)) < 0.15] = True
    truth.area[rng.random(len(truth.area)) < 0.1] = 32**2
    n = images * per_image
    near = rng.integers(0, len(truth.boxes), n)
    boxes = truth.boxes[near] + rng.integers(-6, 7, (n, 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    image = np.where(rng.random(n) < 0.6, truth.image[near], rng.integers(0, images, n))
    rows = np.column_stack([boxes, rng.integers(1, levels, n) / levels])
    return DetectionArrays.from_rows(image, rng.integers(0, 3, n), rows), truth


@pytest.mark.parametrize('seed', range(3))
def test_random_sets(seed):
    assert_same(*random_set(seed))
    # more than 100 detections of a class in an image
    assert_same(*random_set(seed, images=3, per_image=600, levels=1000))
