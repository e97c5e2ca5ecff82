"""The main job through the command line, on a few rendered frames: train, test, score, look."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_streams import decode

from mmdet.programs import quickstart as module
from mmdet.programs.analyse.training_logs import load_training
from mmdet.programs.quickstart import quickstart

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
def test_the_quickstart_trains_tests_scores_and_draws(finished):
    losses = load_training(finished / WORK).curve('loss')[1]
    assert len(losses) >= 2 and np.isfinite(losses).all() and losses[-1] < losses[0]
    checkpoint = torch.load(finished / WORK / 'epoch_2.pth', map_location='cpu', weights_only=True)
    assert all(torch.isfinite(w).all() for w in checkpoint['state_dict'].values())
    pictures = finished / WORK / 'pictures'
    frames = decode(pictures / 'detections.mp4')
    assert len(frames) >= 20 and frames[0].shape[0] >= 480
    for name in ('frames', 'training', 'ap_by_motion', 'ap_by_class'):
        assert cv2.imread(str(pictures / f'{name}.png')) is not None, name


@pytest.mark.slow
def test_files_of_results_are_scored_alike_and_frames_are_drawn(finished, call):
    """From detections as pickle and as JSON, which rounds boxes to 1e-4 pixels."""
    flags = '--work-dir formatted --format-only --show-dir shown --show-score-thr 0.0'
    call('tools/test.py', CONFIG, WORK / 'epoch_2.pth', *flags.split(), cwd=finished)
    assert not (finished / 'formatted' / 'metrics.json').exists()
    (path,) = (finished / 'formatted').rglob('*.bbox.json')
    call('tools/eval.py', CONFIG, path, '--work-dir', 'from_json', cwd=finished)
    arguments = (CONFIG, WORK / 'results.pkl', '--eval', 'bbox', '--work-dir', 'again')
    call('tools/eval.py', *arguments, cwd=finished)
    expected, again, rounded = (metrics(finished / f) for f in (WORK, 'again', 'from_json'))
    assert again == expected == pytest.approx(rounded, abs=1e-3)
    originals = sorted((finished / 'data/sample/Data/VID/val').rglob('*.JPEG'))
    pictures = sorted((finished / 'shown').rglob('*.JPEG'))
    assert [p.name for p in pictures] == [p.name for p in originals]
    pairs = zip(map(cv2.imread, originals), map(cv2.imread, pictures), strict=True)
    assert np.mean([np.abs(a.astype(int) - b).max() > 60 for a, b in pairs]) > 0.5


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
