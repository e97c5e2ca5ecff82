"""The main job through the command line, on a few rendered frames: train, test, score, look."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet.programs import quickstart as module
from mmdet.programs.quickstart import QuickstartError, is_rendered, quickstart, summarise
from mmdet.programs.sample import SampleSpec

CONFIG = 'configs/sample/faster_rcnn_r18.py'
WORK = Path('work_dirs/faster_rcnn_r18')
EPOCHS = 2
OPTIONS = [
    f'train_cfg.max_epochs={EPOCHS}',
    'param_scheduler.0.end=6',
    'param_scheduler.1.begin=5',
    'expected.value=0',
]


@pytest.fixture(scope='module')
def job(tmp_path_factory, repo, call) -> Path:
    """A copy of tools and configs with a small sample dataset."""
    folder = tmp_path_factory.mktemp('job')
    for name in ('tools', 'configs'):
        shutil.copytree(repo / name, folder / name)
    flags = ('--videos', 3, 2, '--images', 4)
    call('tools/make_sample_vid.py', '-o', 'data/sample', *flags, cwd=folder)
    for subset in ('vid', 'det'):
        tool = f'tools/convert_datasets/ilsvrc/imagenet2coco_{subset}.py'
        call(tool, '-i', 'data/sample', '-o', 'data/sample/annotations', cwd=folder)
    return folder


@pytest.fixture(scope='module')
def finished(job) -> Path:
    """The job's folder after the quickstart, which trained for a few iterations and tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'is_rendered', lambda: True)
        patch.setenv('OMP_NUM_THREADS', '1')
        patch.chdir(job)
        quickstart(job, cfg_options=OPTIONS)
    return job


def metrics_of(job: Path) -> dict:
    return json.loads((job / WORK / 'metrics.json').read_text())


@pytest.mark.slow
def test_training_leaves_a_falling_loss_and_a_safe_checkpoint(finished):
    from mmdet.programs.analyse.training_logs import load_training

    losses = load_training(finished / WORK).curve('loss')[1]
    assert len(losses) >= 2 and np.isfinite(losses).all() and losses[-1] < losses[0]
    path = finished / WORK / f'epoch_{EPOCHS}.pth'
    checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    assert checkpoint['meta']['epoch'] == EPOCHS
    assert all(torch.isfinite(w).all() for w in checkpoint['state_dict'].values())


@pytest.mark.slow
def test_results_cover_every_frame_and_class(finished):
    annotations = finished / 'data/sample/annotations/imagenet_vid_val.json'
    annotations = json.loads(annotations.read_text())
    results = pickle.loads((finished / WORK / 'results.pkl').read_bytes())
    assert len(results) == len(annotations['images'])
    assert all(len(per_class) == len(annotations['categories']) for per_class in results)
    assert all(a.dtype == np.float32 and a.shape[1] == 5 for row in results for a in row)


@pytest.mark.slow
def test_video_and_pictures_show_the_frames(finished):
    pictures = finished / WORK / 'pictures'
    with av.open(str(pictures / 'detections.mp4')) as container:
        frames = [f.to_ndarray(format='bgr24') for f in container.decode(video=0)]
    assert len(frames) >= 20 and frames[0].shape[0] >= 480
    assert cv2.imread(str(pictures / 'frames.png')).shape[1] > 1500
    for name in ('training', 'ap_by_motion', 'ap_by_class'):
        assert cv2.imread(str(pictures / f'{name}.png')) is not None, name


@pytest.mark.slow
def test_scoring_the_results_file_gives_the_same_numbers(finished, call):
    arguments = (CONFIG, WORK / 'results.pkl', '--eval', 'bbox', '--work-dir', 'again')
    call('tools/eval.py', *arguments, cwd=finished)
    assert json.loads((finished / 'again/metrics.json').read_text()) == metrics_of(finished)


@pytest.mark.slow
def test_format_only_and_show_dir(finished, call):
    arguments = (CONFIG, WORK / f'epoch_{EPOCHS}.pth', '--work-dir', 'formatted', '--format-only')
    flags = ('--show-dir', 'shown', '--show-score-thr', '0.0')
    call('tools/test.py', *arguments, *flags, cwd=finished)
    assert not (finished / 'formatted' / 'metrics.json').exists()
    (path,) = (finished / 'formatted').rglob('*.bbox.json')
    call('tools/eval.py', CONFIG, path, '--work-dir', 'from_json', cwd=finished)
    metrics = json.loads((finished / 'from_json/metrics.json').read_text())
    for name, value in metrics_of(finished).items():  # the JSON rounds boxes to 1e-4 pixels
        assert metrics[name] == (value if value is None else pytest.approx(value, abs=1e-3)), name
    originals = sorted((finished / 'data/sample/Data/VID/val').rglob('*.JPEG'))
    pictures = sorted((finished / 'shown').rglob('*.JPEG'))
    assert [p.name for p in pictures] == [p.name for p in originals]
    changed = [
        np.abs(cv2.imread(str(a)).astype(int) - cv2.imread(str(b))).max() > 60
        for a, b in zip(originals, pictures, strict=True)
    ]
    assert np.mean(changed) > 0.5


def test_the_summary_lists_the_files_and_demands_the_expected_result(tmp_path, capsys):
    metrics = tmp_path / 'metrics.json'
    metrics.write_text('{"vid/AP50": 0.65}')
    cfg = Config(dict(expected=dict(metric='vid/AP50', value=0.7, tolerance=0.1)))
    summarise(cfg, CONFIG, {'trained model': Path('epoch_5.pth')}, metrics)
    printed = capsys.readouterr().out
    assert 'epoch_5.pth' in printed and str(metrics) in printed
    assert 'vid/AP50 is 0.650; expected 0.700' in printed
    cfg.expected.value = 0.8
    with pytest.raises(QuickstartError, match=r'0\.650, below the expected 0\.800'):
        summarise(cfg, CONFIG, {}, metrics)


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """A checkout whose only command is what a test writes to tools/step.py."""
    monkeypatch.chdir(tmp_path)
    Path('tools').mkdir()
    return tmp_path / 'tools/step.py'


def test_a_failing_step_stops_the_quickstart(steps):
    steps.write_text('raise SystemExit(3)')
    with pytest.raises(QuickstartError, match=r'tools/step\.py nothing.*exit code 3'):
        module._run('tools/step.py', 'nothing')


def test_ctrl_c_lets_a_step_save_before_it_ends(steps, repo):
    steps.write_text(
        'import pathlib, time\n'
        'try:\n    print("started", flush=True)\n    time.sleep(60)\n'
        'except KeyboardInterrupt:\n    time.sleep(1); pathlib.Path("saved").touch()\n'
    )
    code = 'from mmdet.programs import quickstart; quickstart._run("tools/step.py")'
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        env=dict(os.environ, PYTHONPATH=str(repo)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # where tests run in the background the signal is ignored, which children inherit
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while 'started' not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    process.communicate(timeout=60)
    assert process.returncode != 0 and Path('saved').exists()


def test_rendering_is_skipped_only_when_it_is_complete_and_newer(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, 'PROGRAMS', tmp_path / 'programs')
    source = tmp_path / 'programs/sample/sprites.py'
    source.parent.mkdir(parents=True)
    source.touch()
    folder = Path('data/sample')
    (folder / 'annotations').mkdir(parents=True)
    assert not is_rendered()
    marker = folder / 'sample_vid.json'
    marker.write_text(json.dumps(asdict(SampleSpec())))
    assert not is_rendered()  # rendering was interrupted
    for name in module.ANNOTATIONS:
        (folder / 'annotations' / f'{name}.json').touch()
    assert is_rendered()
    marker.write_text(json.dumps(asdict(SampleSpec(seed=1))))
    assert not is_rendered()  # another dataset
    marker.write_text(json.dumps(asdict(SampleSpec())))
    os.utime(marker, (0, 0))
    assert is_rendered()
    os.utime(source, (2**32, 2**32))
    assert not is_rendered()  # the renderer changed


def test_an_option_that_leads_nowhere_is_told_before_anything_runs(repo):
    from mmdet.core.errors import ConfigError

    with pytest.raises(ConfigError, match='modle'):
        quickstart(repo, cfg_options=['modle.depth=1'])
