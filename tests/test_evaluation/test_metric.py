"""The metric in its loop: what it scores, writes, refuses, and keeps when something fails."""

import csv
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from eval_files import TWO_VIDEOS, cocovid, detections_of, perfect_results

from mmdet.core.errors import EvaluationError, WriteError
from mmdet.evaluation import VideoDetectionMetric, evaluate_results
from mmdet.structures import Detections

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_core'))
from full_disk import read_only


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
    return detections_of(results or perfect_results(), order)


@pytest.fixture
def with_a_miss():
    """Results whose detection of image 4, of class b, hits nothing."""
    results = perfect_results()
    results[3][1][:, :4] += 200
    return results


def run(metric, given=None):
    given = samples() if given is None else given
    for start in range(0, len(given), 2):
        metric.process(None, given[start : start + 2])
    return metric.evaluate(len(given))


def test_what_is_found_is_said_and_written(ann_file, tmp_path, said, with_a_miss):
    work_dir, out = tmp_path / 'work', tmp_path / 'out/r.pkl'
    metric = VideoDetectionMetric(ann_file, work_dir=work_dir, out_file=out)
    found = run(metric, samples(with_a_miss))
    assert metric.results == []
    speeds = ['vid/AP50', 'vid/AP50_fast', 'vid/AP50_medium', 'vid/AP50_slow']
    coco = [f'coco/{name}' for name in ('AP', 'AP50', 'AP75', 'AP_s', 'AP_m', 'AP_l')]
    assert list(found) == [*speeds, 'vid/AP50/a', 'vid/AP50/b', *coco]
    assert found['vid/AP50_medium'] is None and found['coco/AP_l'] is None
    assert found['vid/AP50/a'] == pytest.approx(1) and found['vid/AP50_fast'] < 1
    assert {p.name for p in work_dir.iterdir()} == {'metrics.json', 'per_class.csv'}
    assert json.loads((work_dir / 'metrics.json').read_text()) == found
    with open(work_dir / 'per_class.csv', newline='') as file:
        a, b = csv.DictReader(file)
    assert (a['class'], a['objects'], a['detections']) == ('a', '2', '2')
    assert float(b['AP50 (VID)']) == found['vid/AP50/b'] < 1
    assert a['AP50 (VID) fast'] == '' and float(b['AP50 (VID) fast']) < 1
    assert 'AP50 (COCO)' in ''.join(said) and 'from the track ids' in ''.join(said)
    assert evaluate_results(out, ann_file) == found


def test_without_track_ids_motion_is_not_available(tmp_path, said):
    ann_file = cocovid(tmp_path / 'a.json', TWO_VIDEOS, tracks=False)
    found = run(VideoDetectionMetric(ann_file, metrics=['vid'], prefix='val'))
    assert {name[:8] for name in found} == {'val/vid/'}  # one protocol alone
    assert found['val/vid/AP50'] == pytest.approx(1)
    assert {found[f'val/vid/AP50_{s}'] for s in ('fast', 'medium', 'slow')} == {None}
    assert 'motion: n/a (no track ids)' in ''.join(said)


def test_the_dataset_tells_its_file_and_its_classes(ann_file, tmp_path):
    metric = VideoDetectionMetric()
    with pytest.raises(EvaluationError, match=r'test_evaluator\.ann_file'):
        metric.dataset_meta = {'classes': ('b',)}
    metric.dataset_meta = {'classes': ('b',), 'ann_file': str(ann_file)}
    results = [[per_class[1]] for per_class in perfect_results()]
    assert run(metric, samples(results))['vid/AP50/b'] == pytest.approx(1)
    out = tmp_path / 'r.pkl'  # what is only written needs no file of the evaluator
    written = VideoDetectionMetric('none.json', out_file=out, evaluate=False)
    written.dataset_meta = {'ann_file': str(ann_file)}
    assert run(written) == {}
    assert evaluate_results(out, ann_file)['vid/AP50'] == pytest.approx(1)


def test_the_results_file_is_in_ascending_image_id_and_best_first(ann_file, tmp_path):
    results = perfect_results()
    results[0][0] = np.array([[0, 0, 5, 5, 0.1], [1, 1, 9, 9, 0.7]], np.float32)
    run(VideoDetectionMetric(ann_file, out_file=tmp_path / 'r.pkl'), samples(results))
    results[0][0] = results[0][0][::-1]
    written = pickle.loads((tmp_path / 'r.pkl').read_bytes())
    for ours, theirs in zip(written, results, strict=True):
        assert [a.tolist() for a in ours] == [a.tolist() for a in theirs]


def test_a_subset_of_the_frames(ann_file, tmp_path, with_a_miss):
    hard = tmp_path / 'hard.txt'
    hard.write_text('val/two 0\nval/one/000000.JPEG\n')
    whole = evaluate_results(with_a_miss, ann_file, work_dir=tmp_path)
    some = evaluate_results(with_a_miss, ann_file, frame_list=hard, work_dir=tmp_path)
    # b: the miss scores as the hit and is an image later, so it comes first (ties are reversed)
    assert some['vid/AP50/b'] == pytest.approx(1 / 2 * 1 / 2)
    assert some['vid/AP50_fast'] == 0  # of the track's motion over all its frames
    assert json.loads((tmp_path / 'metrics.json').read_text()) == whole
    assert json.loads((tmp_path / 'metrics.hard.json').read_text()) == some


LABEL_6 = samples()
LABEL_6[0].labels.fill_(6)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (samples(order=(0, 1, 3, 4)), r'1 images have no detections, not even .*\(ids 3\)'),
        (samples(order=(0, 1, 2, 3, 4, 2, 0)), r'2 images came more than once \(ids 1, 3\)'),
        ([*samples(), Detections(image_id=9)], r'not in the annotation file \(ids 9\)'),
        (LABEL_6, r'labels 0 to 6, but there are 2 classes.*a, b'),
    ],
)
def test_detections_that_cannot_be_scored(ann_file, given, message):
    with pytest.raises(EvaluationError, match=message):
        run(VideoDetectionMetric(ann_file), given)


def test_settings_that_cannot_work_fail_at_once(ann_file):
    for options, error, message in (
        ({'ann_file': 'none.json'}, FileNotFoundError, 'none.json'),
        ({'metrics': ['vis']}, EvaluationError, "Did you mean 'vid'"),
        ({'out_file': 'r.json'}, EvaluationError, 'must end in .pkl'),
        ({'format_only': True}, EvaluationError, 'needs outfile_prefix or work_dir'),
        ({'motion_file': 'm.mat'}, FileNotFoundError, 'motion_file=m.mat'),
    ):
        with pytest.raises(error, match=message):
            VideoDetectionMetric(**{'ann_file': ann_file} | options)


def test_results_that_are_none(ann_file, tmp_path):
    def refused(results, message, error=EvaluationError):
        with pytest.raises(error, match=message):
            evaluate_results(results, ann_file)

    refused(tmp_path / 'r.pkl', 'no such results file', FileNotFoundError)
    refused(tmp_path, 'a folder without detections')
    spill = tmp_path / 'rank_0.npz'
    np.savez(spill, ids=[1], counts=[2], labels=[0], rows=np.zeros((1, 5)))
    refused(tmp_path, r'rank_0\.npz is damaged: its parts')
    np.savez(spill, ids=[1], counts=[0], labels=np.zeros(0, int), rows=np.zeros((0, 5)))
    refused(tmp_path, r'4 images have no detections.* no rank is missing')


def test_a_failed_output_names_the_detections_that_were_kept(ann_file, tmp_path):
    expected = run(VideoDetectionMetric(ann_file, work_dir=tmp_path / 'work'))
    kept = tmp_path / 'work/detections'
    assert not kept.exists()
    with read_only(tmp_path / 'sealed') as sealed:
        if sealed is None:
            pytest.skip('root can write everywhere here')
        out = dict(out_file=sealed / 'r.pkl', work_dir=tmp_path / 'work')
        with pytest.raises(WriteError, match=f'cannot write .*are kept in {kept}'):
            run(VideoDetectionMetric(ann_file, **out))
    assert evaluate_results(kept, ann_file) == expected
