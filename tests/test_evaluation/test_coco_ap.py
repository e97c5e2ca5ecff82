import numpy as np
import pytest
from eval_files import truth_of
from faster_coco_eval import COCO, COCOeval_faster

from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.coco import coco_ap
from mmdet.evaluation.ground_truth import ground_truth
from mmdet.evaluation.results import DetectionArrays


def plain_coco(detections, truth):
    """All dicts at once through faster-coco-eval: (summary, AP per class, AP50 per class)."""

    def xywh(box):
        x1, y1, x2, y2 = (float(v) for v in box)
        return [x1, y1, x2 - x1, y2 - y1]

    gt = COCO()
    gt.dataset = {
        'images': [{'id': int(i)} for i in truth.image_ids],
        'categories': [{'id': c} for c in truth.category_ids],
        'annotations': [
            {
                'id': k + 1,
                'image_id': int(truth.image_ids[truth.image[k]]),
                'category_id': truth.category_ids[truth.label[k]],
                'bbox': xywh(truth.boxes[k]),
                'area': float(truth.area[k]),
                'iscrowd': int(truth.crowd[k]),
            }
            for k in range(len(truth.label))
        ],
    }
    gt.createIndex()
    dt = gt.loadRes(
        [
            {
                'image_id': int(truth.image_ids[detections.image[k]]),
                'category_id': truth.category_ids[detections.label[k]],
                'bbox': xywh(detections.boxes[k]),
                'score': float(detections.score[k]),
            }
            for k in range(len(detections))
        ]
    )
    evaluation = COCOeval_faster(gt, dt, 'bbox', print_function=lambda *_: None)
    evaluation.run()
    precision = evaluation.eval['precision'][..., 0, -1]

    def mean(p):
        return p[p > -1].mean() if (p > -1).any() else np.nan

    ap = [mean(precision[:, :, c]) for c in range(len(truth.classes))]
    ap50 = [mean(precision[0, :, c]) for c in range(len(truth.classes))]
    return evaluation.stats[:6], ap, ap50


def assert_same(detections, truth):
    found = coco_ap(detections, truth)
    stats, ap, ap50 = plain_coco(detections, truth)
    summary = np.array(list(found.summary.values()))
    np.testing.assert_allclose(np.where(np.isnan(summary), -1, summary), stats, atol=1e-12)
    np.testing.assert_allclose(found.ap, ap, atol=1e-12)
    np.testing.assert_allclose(found.ap50, ap50, atol=1e-12)
    return found


def test_golden_detections_equal_the_plain_use(shared, tmp_path):
    folder = shared / 'golden' / 'eval'
    index = CocoVideoIndex.open(folder / 'annotations.json', tmp_path)
    z = np.load(folder / 'detections.npz')
    detections = DetectionArrays.from_rows(z['frame'], z['label'], z['boxes'])
    found = assert_same(detections, ground_truth(index))
    assert found.summary['AP50'] == pytest.approx(0.53248265)


def random_set(seed, images=40, classes=3, per_image=30, levels=15):
    rng = np.random.default_rng(seed)
    gt = []
    for _ in range(images):
        objects = []
        for _ in range(rng.integers(0, 4)):
            x, y = rng.integers(0, 60, 2)
            w, h = rng.choice([16, 32, 50, 96, 120], 2)
            objects.append((int(rng.integers(0, classes - 1)), [x, y, x + w, y + h]))
        gt.append(objects)
    truth = truth_of(gt, classes=[f'class {c}' for c in range(classes)])
    truth.crowd[rng.random(len(truth.crowd)) < 0.15] = True
    truth.area[rng.random(len(truth.area)) < 0.1] = 32**2
    n = images * per_image
    near = rng.integers(0, len(truth.boxes), n)
    boxes = truth.boxes[near] + rng.integers(-6, 7, (n, 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    image = np.where(rng.random(n) < 0.6, truth.image[near], rng.integers(0, images, n))
    scores = rng.integers(1, levels, n) / levels
    rows = np.concatenate([boxes, scores[:, None]], axis=1)
    return DetectionArrays.from_rows(image, rng.integers(0, classes, n), rows), truth


@pytest.mark.parametrize('seed', range(8))
def test_random_sets_with_ties_crowds_and_border_areas(seed):
    assert_same(*random_set(seed))


def test_more_than_100_detections_of_an_image():
    detections, truth = random_set(0, images=3, classes=2, per_image=400, levels=1000)
    assert np.bincount(detections.image[detections.label == 0]).max() > 100
    assert_same(detections, truth)


def test_classes_without_objects_or_detections():
    truth = truth_of([[(0, [0, 0, 10, 10])], [(1, [0, 0, 50, 50])]])
    detections = DetectionArrays.from_rows([0], [0], np.array([[0, 0, 10, 10, 0.5]]))
    found = coco_ap(detections, truth)
    np.testing.assert_allclose(found.ap, [1, 0, np.nan])
    assert found.summary['AP'] == pytest.approx(0.5)
    assert found.summary['AP_s'] == pytest.approx(1) and np.isnan(found.summary['AP_l'])


def test_nothing_at_all():
    nothing = DetectionArrays.from_rows([], [], np.zeros((0, 5)))
    assert all(np.isnan(value) for value in coco_ap(nothing, truth_of([[], []])).summary.values())
