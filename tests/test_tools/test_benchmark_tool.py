import re

import cv2
import numpy as np
import pytest
import torch

from mmdet.evaluation.vid_ap import vid_ap
from mmdet.programs.benchmark import infer
from mmdet.programs.benchmark.commands import steady_rate
from mmdet.programs.benchmark.literal_vid import literal_vid_ap
from mmdet.programs.benchmark.scoring import made_up_results
from mmdet.programs.commands import benchmark


def test_eval_says_what_on_what_and_how_fast(capsys):
    benchmark.main(['eval', '--frames', '40', '--boxes', '12', '--repeats', '2'])
    printed = capsys.readouterr().out
    for text in ('torch', 'numpy', 'cores usable', '40 frames with 12 detections', 'median of 2'):
        assert text in printed
    assert len(re.findall(r'[\d.]+ s +[\d.]+ s +[\d,]+ +\d+ MB', printed)) == 4
    ratio = re.search(r'(\d+) times the CPU time; AP differs by at most (\S+)', printed)
    assert float(ratio[2]) < 1e-9


def test_the_made_up_results_can_be_scored():
    detections, truth = made_up_results(300, 30)
    assert np.bincount(detections.image, minlength=300).tolist() == [30] * 300
    assert set(np.unique(truth.image)) == set(range(300))
    found = vid_ap(detections, truth)
    assert (found.mean > 0.02).all() and (found.mean < 0.98).all()


def test_the_literal_evaluator_finds_the_same():
    """Also where a class or a range is empty, and on frames without objects."""
    for seed in range(3):
        detections, truth = made_up_results(60, 20, seed)
        truth = truth.select((truth.label != 4) & (truth.image % 7 != 0))
        ours, literal = vid_ap(detections, truth).ap, literal_vid_ap(detections, truth)
        np.testing.assert_allclose(literal, ours, atol=1e-9)
        assert np.isnan(literal[:, 4]).all() and np.nanmax(literal) > 0.1


def test_an_unknown_subject(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(['evaluation'])
    said = capsys.readouterr().err.replace("'", '')  # quotes depend on Python's version
    assert 'choose from data, eval, gpu, infer, levels, train' in said


@pytest.mark.parametrize('method', ['mamba', 'eovod_fcos'])
def test_infer_shows_every_stage(repo, capsys, method):
    config = f'{repo}/configs/sample/{method}_r18.py'
    benchmark.main(['infer', config, '--frames', '2', '--device', 'cpu'])
    printed = capsys.readouterr().out
    stages = ['proposals', 'RoI features'] if method == 'mamba' else ['head and suppression']
    for stage in ('upload', 'backbone', 'neck', *stages, 'rest'):
        assert re.search(rf'{stage} +│ +\d+\.\d\d', printed), stage
    assert re.search(r'reading, one process: \d+\.\d frames/s', printed)
    assert re.search(r'\d frames/s; .* the first frame, with its references, \d+ ms', printed)


def test_stages_do_not_overlap():
    marks = infer.Marks(torch.device('cpu'))
    inner = marks.wrap('inner', lambda: torch.ones(300, 300) @ torch.ones(300, 300))
    marks.wrap('rest', lambda: (inner(), inner()))()
    total = marks.milliseconds()
    assert 0 < total['inner'] < total['rest']


@pytest.mark.parametrize('flags', [[], ['--amp', 'bf16']])
def test_train_takes_real_steps(repo, capsys, flags):
    config = f'{repo}/configs/sample/mamba_r18.py'
    benchmark.main(['train', config, '--batch', '2', '--steps', '2', '--device', 'cpu', *flags])
    printed = capsys.readouterr().out
    assert f'MAMBA, {"bf16" if flags else "fp32"}, 2 clip(s) (108, 192)' in printed
    assert re.search(r': \d+\.\d+ s per step, peak \d+ MB resident', printed)


def test_backbone_and_neck_can_be_compiled(repo, monkeypatch):
    """What is compiled is recorded here: compiling takes half a minute."""
    called = []

    def record(forward):
        return lambda *args: called.append(type(forward.__self__).__name__) or forward(*args)

    monkeypatch.setattr(torch, 'compile', record)
    config = f'{repo}/configs/sample/selsa_r18.py'
    benchmark.main(['train', config, '--steps', '1', '--device', 'cpu', '--compile'])
    assert set(called) == {'ResNet', 'ChannelMapper'}


def test_the_rate_of_a_command_is_that_between_its_lines():
    lines = 'a: 100/900 frames, 50.0 frames/s, eta 1\na: 900 frames in 0:00:06 (150.0 frames/s)'
    assert steady_rate(lines) == pytest.approx(800 / (6 - 2))
    assert steady_rate('a: 900 frames in 0:00:06 (150.0 frames/s)') == 150
    assert steady_rate('nothing') is None


def test_gpu_measures_every_method_also_without_a_gpu(tmp_path, capsys):
    flags = ['--methods', 'MAMBA', 'EOVOD', '--no-commands', '--no-train', '--out', str(tmp_path)]
    benchmark.main(['gpu', *flags])
    assert 'the figures mean nothing' in capsys.readouterr().out
    assert (tmp_path / 'gpu.json').is_file()


def test_levels_of_a_size_prior(repo, tmp_path, capsys):
    """Random weights find nothing, so that all levels run; a detector alone has no prior."""
    rng = np.random.default_rng(0)
    for i in range(4):
        image = rng.integers(0, 256, (96, 160, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'{i}.png'), image)
    sample = repo / 'configs/sample'
    options = [str(tmp_path), '--frames', '3', '--device', 'cpu']
    benchmark.main(['levels', str(sample / 'eovod_fcos_r18.py'), *options])
    printed = capsys.readouterr().out
    assert [f'stride {s}' in printed for s in (8, 16, 32)] == [True] * 3
    assert printed.count('100%') == 3 and 'whole frame' in printed
    with pytest.raises(SystemExit, match='size_prior'):
        benchmark.main(['levels', str(sample / 'fcos_r18.py'), *options])
