import importlib.util
import re
import sys
import time

import numpy as np
import pytest
import torch


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
    assert len(re.findall(r'[\d.]+ s +[\d.]+ s +[\d,]+ +\d+ MB', printed)) == 4
    ratio = re.search(r'(\d+) times the CPU time; AP differs by at most (\S+)', printed)
    assert float(ratio[2]) < 1e-9


def test_the_made_up_results_can_be_scored(benchmark, repo):
    sys.path.insert(0, str(repo / 'tools'))
    made = importlib.import_module('benchmarks.eval').made_up_results
    detections, truth = made(300, 30)
    assert np.bincount(detections.image, minlength=300).tolist() == [30] * 300
    assert set(np.unique(truth.image)) == set(range(300))
    from mmdet.evaluation.vid_ap import vid_ap

    found = vid_ap(detections, truth)
    assert (found.mean > 0.02).all() and (found.mean < 0.98).all()


def test_the_literal_evaluator_finds_the_same(benchmark, repo):
    """Also where a class or a range is empty, and on frames without objects."""
    sys.path.insert(0, str(repo / 'tools'))
    made = importlib.import_module('benchmarks.eval').made_up_results
    literal_vid_ap = importlib.import_module('benchmarks.literal_vid').literal_vid_ap
    from mmdet.evaluation.vid_ap import vid_ap

    for seed in range(3):
        detections, truth = made(60, 20, seed)
        truth = truth.select((truth.label != 4) & (truth.image % 7 != 0))
        ours, literal = vid_ap(detections, truth).ap, literal_vid_ap(detections, truth)
        np.testing.assert_allclose(literal, ours, atol=1e-9)
        assert np.isnan(literal[:, 4]).all() and np.nanmax(literal) > 0.1


def test_an_unknown_subject(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(['evaluation'])
    said = capsys.readouterr().err.replace("'", '')  # quotes depend on Python's version
    assert 'choose from data, eval, gpu, infer, train' in said


@pytest.mark.parametrize('method', ['faster_rcnn', 'mamba'])
def test_infer_shows_every_stage(benchmark, repo, capsys, method):
    config = f'{repo}/configs/sample/{method}_r18.py'
    benchmark.main(['infer', config, '--frames', '2', '--warmup', '1', '--device', 'cpu'])
    printed = capsys.readouterr().out
    for text in ('decode', 'resize', 'transfer', 'backbone', 'neck', 'RPN', 'RoI', 'post', 'total'):
        assert text in printed
    assert 'batch 1' in printed and 'unit = plain fp32 backbone' in printed
    assert re.search(r'\d frames/s end to end', printed)


def test_infer_accounts_for_all_of_the_time(benchmark, repo):
    sys.path.insert(0, str(repo / 'tools'))
    infer = importlib.import_module('benchmarks.infer')
    timer = infer.StageTimer(torch.device('cpu'))
    with timer.frame() as seconds:
        timer.wrap('neck', time.sleep)(0.02)
        time.sleep(0.03)
    assert seconds['neck'] >= 0.02 and seconds['RoI'] >= 0.03
    stages = sum(seconds[stage] for stage in infer.STAGES)
    assert stages == pytest.approx(seconds['total'])


@pytest.mark.parametrize('amp', [[], ['--amp', 'bf16']])
def test_train_takes_real_steps(benchmark, repo, capsys, amp):
    config = f'{repo}/configs/sample/mamba_r18.py'
    benchmark.main(['train', config, '--batch', '2', '--steps', '2', '--device', 'cpu', *amp])
    printed = capsys.readouterr().out
    assert ('bf16' if amp else 'fp32') in printed
    assert '2 clip(s) of 3 frame(s) (108, 192)' in printed
    assert re.search(r'median \d+\.\d+ s per step, peak \d+ MB resident', printed)


@pytest.mark.parametrize('subject', ['infer', 'train'])
def test_backbone_and_neck_can_be_compiled(benchmark, repo, capsys, monkeypatch, subject):
    """What is compiled is recorded here: compiling takes half a minute."""
    called = []

    def record(forward):
        return lambda *args: called.append(type(forward.__self__).__name__) or forward(*args)

    monkeypatch.setattr(torch, 'compile', record)
    config = f'{repo}/configs/sample/selsa_r18.py'
    count = '--frames' if subject == 'infer' else '--steps'
    benchmark.main([subject, config, count, '1', '--warmup', '0', '--device', 'cpu', '--compile'])
    assert 'backbone and neck compiled' in capsys.readouterr().out
    assert set(called) == {'ResNet', 'ChannelMapper'}
