"""Detections outlive a failure after the test, and are scored from what was kept."""

import sys
from pathlib import Path

import numpy as np
import pytest
from eval_files import TWO_VIDEOS, cocovid, perfect_results

from mmdet.core.errors import EvaluationError, WriteError
from mmdet.evaluation import VideoDetectionMetric, evaluate_results
from mmdet.structures import Detections

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_core'))
from full_disk import read_only


@pytest.fixture
def ann_file(tmp_path):
    return cocovid(tmp_path / 'a.json', TWO_VIDEOS)


def run(metric):
    results = perfect_results(TWO_VIDEOS)
    given = [Detections.from_per_class(r, image_id=i) for i, r in enumerate(results, 1)]
    metric.process(None, given)
    return metric.evaluate(len(given))


def test_nothing_is_left_when_all_went_well(ann_file, tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
    (tmp_path / 'tmp').mkdir()
    expected = run(VideoDetectionMetric(ann_file, work_dir=tmp_path / 'work'))
    assert not (tmp_path / 'work/detections').exists()
    assert run(VideoDetectionMetric(ann_file)) == expected
    assert list((tmp_path / 'tmp').iterdir()) == []


def test_a_failed_output_names_the_detections_that_were_kept(ann_file, tmp_path):
    expected = run(VideoDetectionMetric(ann_file, work_dir=tmp_path / 'first'))
    with read_only(tmp_path / 'sealed') as sealed:
        if sealed is None:
            pytest.skip('root can write everywhere here')
        metric = VideoDetectionMetric(
            ann_file, work_dir=tmp_path / 'work', out_file=sealed / 'r.pkl'
        )
        with pytest.raises(WriteError, match=r'cannot write .*r\.pkl.*are kept in .*detections'):
            run(metric)
    kept = tmp_path / 'work/detections'
    assert evaluate_results(kept, ann_file) == expected
    again = run(VideoDetectionMetric(ann_file, work_dir=tmp_path / 'work'))
    assert again == expected and not kept.exists()


def test_a_sealed_work_dir_is_made_up_for(ann_file, tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
    (tmp_path / 'tmp').mkdir()
    with read_only(tmp_path / 'sealed') as sealed:
        if sealed is None:
            pytest.skip('root can write everywhere here')
        with pytest.raises(WriteError, match='are kept in') as caught:
            run(VideoDetectionMetric(ann_file, work_dir=sealed / 'work'))
    (kept,) = (tmp_path / 'tmp').iterdir()
    assert str(kept) in str(caught.value) and (kept / 'rank_0.npz').is_file()
    assert evaluate_results(kept, ann_file)['vid/AP50'] == pytest.approx(1)


def test_spills_that_are_not_whole(ann_file, tmp_path):
    with pytest.raises(EvaluationError, match='a folder without detections'):
        evaluate_results(tmp_path, ann_file)
    np.savez(tmp_path / 'rank_0.npz', ids=[1], counts=[2], labels=[0], rows=np.zeros((1, 5)))
    with pytest.raises(EvaluationError, match=r'rank_0\.npz is damaged: its parts'):
        evaluate_results(tmp_path, ann_file)
    (tmp_path / 'rank_0.npz').write_bytes(b'PK\x03\x04')
    with pytest.raises(EvaluationError, match=r'rank_0\.npz is damaged'):
        evaluate_results(tmp_path, ann_file)
    one = {'counts': [0], 'labels': np.zeros(0, int), 'rows': np.zeros((0, 5))}
    np.savez(tmp_path / 'rank_0.npz', ids=[1], **one)
    with pytest.raises(EvaluationError, match=r'of 1 images, which are not the 5'):
        evaluate_results(tmp_path, ann_file)
