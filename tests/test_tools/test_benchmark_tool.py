import importlib.util
import re
import sys

import numpy as np
import pytest


@pytest.fixture
def benchmark(repo, monkeypatch):
    spec = importlib.util.spec_from_file_location('benchmark_tool', repo / 'tools/benchmark.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    return module


def test_eval_says_what_on_what_and_how_fast(benchmark, capsys):
    benchmark.main(['eval', '--frames', '40', '--boxes', '12', '--repeats', '2'])
    printed = capsys.readouterr().out
    for text in ('torch', 'numpy', 'cores usable', '40 frames with 12 detections', 'median of 2'):
        assert text in printed
    assert len(re.findall(r'\d frames/s, peak \d+ MB', printed)) == 2
    assert 'times the frames/s of 1.x' in printed


def test_the_made_up_results_can_be_scored(benchmark, repo):
    sys.path.insert(0, str(repo / 'tools'))
    made = importlib.import_module('benchmarks.eval').made_up_results
    detections, truth = made(300, 30)
    assert np.bincount(detections.image, minlength=300).tolist() == [30] * 300
    assert set(np.unique(truth.image)) == set(range(300))
    from mmdet.evaluation.vid_ap import vid_ap

    found = vid_ap(detections, truth)
    assert (found.mean > 0.02).all() and (found.mean < 0.98).all()


def test_an_unknown_subject(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(['evaluation'])
    assert "choose from 'data', 'eval', 'infer', 'train'" in capsys.readouterr().err.replace(
        'from data, eval, infer, train', "from 'data', 'eval', 'infer', 'train'"
    )
