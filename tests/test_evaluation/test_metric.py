import csv
import json
import pickle

import numpy as np
import pytest
import torch
from eval_files import TWO_VIDEOS, cocovid, perfect_results
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdet.core.errors import EvaluationError
from mmdet.evaluation import VideoDetectionMetric, evaluate_results
from mmdet.registry import METRICS
from mmdet.structures import Detections


@pytest.fixture
def ann_file(tmp_path):
    return cocovid(tmp_path / 'a.json', TWO_VIDEOS)


@pytest.fixture
def said(monkeypatch):
    """The list of what is logged."""
    lines = []
    for module in ('evaluate', 'metric'):
        log = f'mmdet.evaluation.{module}.print_log'
        monkeypatch.setattr(log, lambda text, logger: lines.append(text))
    return lines


def samples(results=None, order=(4, 0, 2, 1, 3)):
    """Detections of the images in an order that is not that of the ids."""
    results = results or perfect_results(TWO_VIDEOS)
    return [Detections.from_per_class(results[i], image_id=i + 1) for i in order]


def run(metric, given, batch=2):
    for start in range(0, len(given), batch):
        metric.process(None, given[start : start + batch])
    return metric.evaluate(len(given))


# --- what it says --------------------------------------------------------------------------------


def test_a_perfect_detector(ann_file, tmp_path):
    metric = VideoDetectionMetric(ann_file, work_dir=tmp_path / 'work')
    found = run(metric, samples())
    assert list(found) == [
        'vid/AP50',
        'vid/AP50_fast',
        'vid/AP50_medium',
        'vid/AP50_slow',
        'vid/AP50/a',
        'vid/AP50/b',
        'coco/AP',
        'coco/AP50',
        'coco/AP75',
        'coco/AP_s',
        'coco/AP_m',
        'coco/AP_l',
    ]
    assert found['vid/AP50_medium'] is None and found['coco/AP_l'] is None
    assert [v for v in found.values() if v is not None] == pytest.approx([1.0] * 10)
    assert all(type(v) is float for v in found.values() if v is not None)
    assert metric.results == []


def test_json_and_csv(ann_file, tmp_path):
    results = perfect_results(TWO_VIDEOS)
    results[3][1][:, :4] += 200  # a miss
    found = run(VideoDetectionMetric(ann_file, work_dir=tmp_path / 'work'), samples(results))
    assert json.loads((tmp_path / 'work' / 'metrics.json').read_text()) == found
    with open(tmp_path / 'work' / 'per_class.csv', newline='') as file:
        a, b = csv.DictReader(file)
    assert a['class'] == 'a' and a['objects'] == '2' and a['detections'] == '2'
    assert b['class'] == 'b' and b['objects'] == '3' and b['detections'] == '3'
    assert float(b['AP50 (VID)']) == found['vid/AP50/b'] < 1
    assert a['AP50 (VID) fast'] == '' and float(b['AP50 (VID) fast']) < 1
    assert set(a) >= {'AP50 (VID) medium', 'AP50 (VID) slow', 'AP50 (COCO)', 'AP (COCO)'}
    assert {p.name for p in (tmp_path / 'work').iterdir()} == {'metrics.json', 'per_class.csv'}


def test_the_table_labels_both_protocols(ann_file, said):
    run(VideoDetectionMetric(ann_file), samples())
    printed = ''.join(said)
    for text in ('AP50 (VID)', 'AP50 (COCO)', 'AP (COCO)', 'from the track ids', 'medium', '-'):
        assert text in printed


def test_long_work_is_announced(ann_file, tmp_path, said, monkeypatch):
    out = tmp_path / 'r.pkl'
    monkeypatch.setattr('mmdet.evaluation.evaluate.SAY_FROM_S', 0)
    run(VideoDetectionMetric(ann_file, out_file=out), samples())
    evaluate_results(out, ann_file)
    for text in ('Writing the results to', 'Reading', 'AP50 (VID) of 5', 'AP (COCO) of 5'):
        assert any(line.startswith(text) and ': about 0 s' in line for line in said)


def test_without_track_ids_motion_is_not_available(tmp_path, said):
    ann_file = cocovid(tmp_path / 'a.json', TWO_VIDEOS, tracks=False)
    found = run(VideoDetectionMetric(ann_file), samples())
    assert found['vid/AP50'] == pytest.approx(1)
    assert {found[f'vid/AP50_{s}'] for s in ('fast', 'medium', 'slow')} == {None}
    printed = ''.join(said)
    assert 'motion: n/a (no track ids)' in printed and printed.count('n/a') == 1 + 3 * 3


def test_one_protocol_alone(ann_file):
    found = run(VideoDetectionMetric(ann_file, metrics='coco'), samples())
    assert {name.split('/')[0] for name in found} == {'coco'}
    found = run(VideoDetectionMetric(ann_file, metrics=['vid'], prefix='val'), samples())
    assert {name[:8] for name in found} == {'val/vid/'}


def test_classes_of_the_dataset_name_the_labels(ann_file):
    metric = VideoDetectionMetric(ann_file)
    metric.dataset_meta = {'classes': ('b',)}
    results = [[per_class[1]] for per_class in perfect_results(TWO_VIDEOS)]
    assert run(metric, samples(results))['vid/AP50/b'] == pytest.approx(1)


# --- files ---------------------------------------------------------------------------------------


def test_the_results_file_is_in_ascending_image_id(ann_file, tmp_path):
    out = tmp_path / 'out' / 'r.pkl'
    results = perfect_results(TWO_VIDEOS)
    results[0][0] = np.array([[0, 0, 5, 5, 0.1], [1, 1, 9, 9, 0.7]], np.float32)
    found = run(VideoDetectionMetric(ann_file, out_file=out), samples(results))
    with open(out, 'rb') as file:
        written = pickle.load(file)
    assert written[0][0].tolist() == results[0][0][::-1].tolist()  # best first
    for i, per_class in enumerate(results[1:], 1):
        for c, wanted in enumerate(per_class):
            np.testing.assert_array_equal(written[i][c], wanted)
    assert evaluate_results(out, ann_file) == found


def test_only_writing(ann_file, tmp_path):
    out = tmp_path / 'r.pkl'
    assert run(VideoDetectionMetric(ann_file, out_file=out, evaluate=False), samples()) == {}
    assert out.is_file()


def test_format_only(ann_file, tmp_path, said):
    metric = VideoDetectionMetric(ann_file, format_only=True, outfile_prefix=tmp_path / 'x')
    assert run(metric, samples()) == {}
    assert str(tmp_path / 'x.bbox.json') in said[0]
    assert evaluate_results(tmp_path / 'x.bbox.json', ann_file)['coco/AP'] == pytest.approx(1)
    run(VideoDetectionMetric(ann_file, format_only=True, work_dir=tmp_path), samples())
    assert (tmp_path / 'results.bbox.json').is_file()


# --- some frames ---------------------------------------------------------------------------------


def test_a_subset_of_the_frames(ann_file, tmp_path):
    results = perfect_results(TWO_VIDEOS)
    results[3][1][:, :4] += 200  # image 4: a miss
    (tmp_path / 'hard.txt').write_text('val/two 0\nval/one/000000.JPEG\n')
    whole = evaluate_results(results, ann_file, work_dir=tmp_path)
    some = evaluate_results(results, ann_file, frame_list=tmp_path / 'hard.txt', work_dir=tmp_path)
    assert some == evaluate_results(results, ann_file, image_ids=[4, 1])
    assert some['vid/AP50/a'] == pytest.approx(1)
    # b: the miss scores as the hit and is an image later, so it comes first (ties are reversed)
    assert some['vid/AP50/b'] == pytest.approx(1 / 2 * 1 / 2)
    assert some['vid/AP50_fast'] == 0  # of the track's motion over all its frames
    assert json.loads((tmp_path / 'metrics.json').read_text()) == whole
    assert json.loads((tmp_path / 'metrics.hard.json').read_text()) == some
    in_loop = VideoDetectionMetric(ann_file, frame_list=tmp_path / 'hard.txt')
    assert run(in_loop, samples(results)) == some


def test_a_subset_of_unknown_images(ann_file):
    with pytest.raises(EvaluationError, match='does not have: 77'):
        evaluate_results(perfect_results(TWO_VIDEOS), ann_file, image_ids=[1, 77])
    with pytest.raises(EvaluationError, match='none at all'):
        evaluate_results(perfect_results(TWO_VIDEOS), ann_file, image_ids=[])


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('order', 'message'),
    [
        ((0, 1, 3, 4), r'1 images have no detections, not even an empty set \(ids 3\)'),
        ((0, 1, 2, 3, 4, 2, 0), r'2 images came more than once \(ids 1, 3\)'),
        ((), r'5 images have no detections.*ids 1, 2, 3, 4, 5\)'),
    ],
)
def test_images_that_are_missing_or_come_twice(ann_file, order, message):
    with pytest.raises(EvaluationError, match=message):
        run(VideoDetectionMetric(ann_file), samples(order=order))


def test_foreign_images_and_labels(ann_file):
    given = [*samples(), Detections(image_id=9)]
    with pytest.raises(EvaluationError, match=r'not in the annotation file \(ids 9\)'):
        run(VideoDetectionMetric(ann_file), given)
    given = samples()
    given[0].labels += 5
    with pytest.raises(EvaluationError, match=r'labels 0 to 6, but there are 2 classes.*a, b'):
        run(VideoDetectionMetric(ann_file), given)


def test_detections_that_are_not_finite(ann_file):
    given = samples()
    given[0].boxes[0, 0] = torch.nan
    with pytest.raises(EvaluationError, match='image number 5 in ascending id'):
        run(VideoDetectionMetric(ann_file), given)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'ann_file': 'none.json'}, FileNotFoundError, 'none.json'),
        ({'classes': ['a', 'fox']}, EvaluationError, "no category 'fox'"),
        ({'metrics': ['vis']}, EvaluationError, "Did you mean 'vid'"),
        ({'metrics': []}, EvaluationError, 'an empty list. Known: coco, vid'),
        ({'out_file': 'r.json'}, EvaluationError, 'must end in .pkl'),
        ({'format_only': True}, EvaluationError, 'needs outfile_prefix or work_dir'),
        ({'motion_file': 'm.mat'}, FileNotFoundError, 'motion_file=m.mat'),
        ({'frame_list': 'f.txt'}, FileNotFoundError, 'frame_list=f.txt'),
    ],
)
def test_settings_that_cannot_work_fail_at_once(ann_file, options, error, message):
    with pytest.raises(error, match=message):
        VideoDetectionMetric(**{'ann_file': ann_file} | options)


def test_results_of_another_kind(ann_file, tmp_path):
    with pytest.raises(FileNotFoundError, match='no such results file'):
        evaluate_results(tmp_path / 'r.pkl', ann_file)
    (tmp_path / 'r.npz').write_bytes(b'')
    with pytest.raises(EvaluationError, match=r'ends in \.pkl or \.json'):
        evaluate_results(tmp_path / 'r.npz', ann_file)


# --- in mmengine ---------------------------------------------------------------------------------


def test_it_is_registered_and_works_in_the_evaluator(ann_file):
    metric = METRICS.build({'type': 'VideoDetectionMetric', 'ann_file': str(ann_file)})
    evaluator = Evaluator([metric])
    evaluator.process(data_samples=samples())
    assert evaluator.evaluate(5)['vid/AP50'] == pytest.approx(1)


class Perfect(BaseModel):
    def forward(self, *_, **__):
        raise NotImplementedError

    def test_step(self, data):
        return data


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet'])  # with its hooks, and with ours
def test_the_runner_logs_metrics_that_are_not_defined(ann_file, tmp_path, monkeypatch, scope):
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)  # takes seconds
    runner = Runner(
        Perfect(),
        work_dir=str(tmp_path / 'run'),
        test_dataloader=DataLoader(samples(), batch_size=2, collate_fn=list),
        test_cfg={},
        test_evaluator=Evaluator([VideoDetectionMetric(ann_file)]),
        experiment_name=f'undefined-{scope}',
        default_scope=scope,
    )
    try:
        assert runner.test()['vid/AP50_medium'] is None
    finally:
        init_default_scope('mmdet')  # for later tests, which build models
    logs = [json.loads(p.read_text()) for p in (tmp_path / 'run').rglob('*.json')]
    written = [log for log in logs if 'vid/AP50_medium' in log]
    assert [log['vid/AP50_medium'] for log in written] == [None] * (scope == 'mmengine')
