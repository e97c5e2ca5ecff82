"""The main job through the command line, on a few rendered frames: train, test, score, look."""

import json
import os
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
from mmdet.programs.analyse.training_logs import load_training
from mmdet.programs.quickstart import QuickstartError, is_rendered, quickstart, summarise
from mmdet.programs.sample import SampleSpec

CONFIG = 'configs/sample/faster_rcnn_r18.py'
WORK = Path('work_dirs/faster_rcnn_r18')
SHORT = 'train_cfg.max_epochs=2 param_scheduler.0.end=6 param_scheduler.1.begin=5 expected.value=0'


@pytest.fixture(scope='module')
def finished(tmp_path_factory, repo, call) -> Path:
    """A copy of tools and configs with a small sample dataset, after the quickstart, which trained
    for a few iterations and tested."""
    folder = tmp_path_factory.mktemp('job')
    for name in ('tools', 'configs'):
        shutil.copytree(repo / name, folder / name)
    flags = ('--videos', 3, 2, '--images', 4)
    call('tools/make_sample_vid.py', '-o', 'data/sample', *flags, cwd=folder)
    for subset in ('vid', 'det'):
        tool = f'tools/convert_datasets/ilsvrc/imagenet2coco_{subset}.py'
        call(tool, '-i', 'data/sample', '-o', 'data/sample/annotations', cwd=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'is_rendered', lambda: True)
        patch.setenv('OMP_NUM_THREADS', '1')
        patch.chdir(folder)
        quickstart(folder, cfg_options=SHORT.split())
    return folder


def metrics(folder: Path) -> dict:
    return json.loads((folder / 'metrics.json').read_text())


@pytest.mark.slow
def test_training_leaves_a_falling_loss_and_a_safe_checkpoint(finished):
    losses = load_training(finished / WORK).curve('loss')[1]
    assert len(losses) >= 2 and np.isfinite(losses).all() and losses[-1] < losses[0]
    checkpoint = torch.load(finished / WORK / 'epoch_2.pth', map_location='cpu', weights_only=True)
    assert checkpoint['meta']['epoch'] == 2
    assert all(torch.isfinite(w).all() for w in checkpoint['state_dict'].values())


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
def test_scoring_the_results_gives_the_same_numbers(finished, call):
    arguments = (CONFIG, WORK / 'results.pkl', '--eval', 'bbox', '--work-dir', 'again')
    call('tools/eval.py', *arguments, cwd=finished)
    assert metrics(finished / 'again') == metrics(finished / WORK)


@pytest.mark.slow
def test_format_only_and_show_dir(finished, call):
    flags = '--work-dir formatted --format-only --show-dir shown --show-score-thr 0.0'
    call('tools/test.py', CONFIG, WORK / 'epoch_2.pth', *flags.split(), cwd=finished)
    assert not (finished / 'formatted' / 'metrics.json').exists()
    (path,) = (finished / 'formatted').rglob('*.bbox.json')
    call('tools/eval.py', CONFIG, path, '--work-dir', 'from_json', cwd=finished)
    rounded = metrics(finished / 'from_json')  # boxes to 1e-4 pixels
    for name, value in metrics(finished / WORK).items():
        assert rounded[name] == (value if value is None else pytest.approx(value, abs=1e-3)), name
    originals = sorted((finished / 'data/sample/Data/VID/val').rglob('*.JPEG'))
    pictures = sorted((finished / 'shown').rglob('*.JPEG'))
    assert [p.name for p in pictures] == [p.name for p in originals]
    pairs = zip(map(cv2.imread, originals), map(cv2.imread, pictures), strict=True)
    assert np.mean([np.abs(a.astype(int) - b).max() > 60 for a, b in pairs]) > 0.5


def test_the_summary_demands_the_expected_result(tmp_path, capsys):
    path = tmp_path / 'metrics.json'
    path.write_text('{"vid/AP50": 0.65}')
    cfg = Config(dict(expected=dict(metric='vid/AP50', value=0.7, tolerance=0.1)))
    summarise(cfg, CONFIG, {'trained model': Path('epoch_5.pth')}, path)
    assert 'epoch_5.pth' in capsys.readouterr().out
    cfg.expected.value = 0.8
    with pytest.raises(QuickstartError, match=r'0\.650, below the expected 0\.800'):
        summarise(cfg, CONFIG, {}, path)


def test_a_failing_step_stops_the_quickstart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('step.py').write_text('raise SystemExit(3)')
    with pytest.raises(QuickstartError, match=r'step\.py nothing.*exit code 3'):
        module._run('step.py', 'nothing')


SAVES = """
import pathlib, time
try: print("started", flush=True); time.sleep(60)
except KeyboardInterrupt: time.sleep(1); pathlib.Path("saved").touch()
"""


def test_ctrl_c_lets_a_step_save_before_it_ends(tmp_path, repo):
    (tmp_path / 'step.py').write_text(SAVES)
    code = 'from mmdet.programs import quickstart; quickstart._run("step.py")'
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        cwd=tmp_path,
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
    assert process.returncode != 0 and (tmp_path / 'saved').exists()


def test_rendering_is_skipped_only_when_it_is_complete_and_newer(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, 'PROGRAMS', tmp_path / 'programs')
    source, marker = tmp_path / 'programs/sample/sprites.py', Path('data/sample/sample_vid.json')
    for folder in (source.parent, Path('data/sample/annotations')):
        folder.mkdir(parents=True)
    source.touch()
    marker.write_text(json.dumps(asdict(SampleSpec(seed=1))))
    assert not is_rendered()  # rendering was interrupted
    for name in module.ANNOTATIONS:
        Path(f'data/sample/annotations/{name}.json').touch()
    assert not is_rendered()  # another dataset
    marker.write_text(json.dumps(asdict(SampleSpec())))
    os.utime(marker, (0, 0))
    assert is_rendered()
    os.utime(source, (2**32, 2**32))
    assert not is_rendered()  # the renderer changed
