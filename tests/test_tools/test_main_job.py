"""The main job through the command line, on a few rendered frames: train, test, score, look."""

import importlib.util
import json
import os
import pickle
import re
import runpy
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

from mmdet.programs.sample import SampleSpec

REPO = Path(__file__).resolve().parents[2]
CONFIG = 'configs/sample/faster_rcnn_r18.py'
WORK = Path('work_dirs/faster_rcnn_r18')
EPOCHS = 2
SHORT = [f'train_cfg.max_epochs={EPOCHS}', 'param_scheduler.0.end=6', 'param_scheduler.1.begin=5']
pytestmark = pytest.mark.slow


def run(folder: Path, *command: str, code: int = 0) -> str:
    """A tool of the repository, in a folder that has its own data/sample."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', COLUMNS='200')
    tool, *arguments = command
    done = subprocess.run(
        [sys.executable, str(folder / tool), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output[-3000:]
    return output


@pytest.fixture(scope='module')
def job(tmp_path_factory) -> Path:
    """A copy of tools and configs with a small sample dataset, on which the quickstart has run."""
    folder = tmp_path_factory.mktemp('job')
    for name in ('tools', 'configs'):
        shutil.copytree(REPO / name, folder / name)
    run(folder, 'tools/make_sample_vid.py', '-o', 'data/sample', '--videos', 3, 2, '--images', 4)
    for subset in ('vid', 'det'):
        tool = f'tools/convert_datasets/ilsvrc/imagenet2coco_{subset}.py'
        run(folder, tool, '-i', 'data/sample', '-o', 'data/sample/annotations')
    return folder


@pytest.fixture
def quickstart(job):
    """A fresh module of tools/quickstart.py, working in the job's folder."""
    spec = importlib.util.spec_from_file_location('quickstart', job / 'tools' / 'quickstart.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def finished(job) -> str:
    """The quickstart's output after training for a few iterations and testing."""
    (job / 'run_quickstart.py').write_text(
        'import sys\n'
        'sys.path.insert(0, "tools")\n'
        'import quickstart\n'
        'quickstart._is_rendered = lambda: True\n'
        f'sys.argv = ["quickstart", "--cfg-options", *{SHORT!r}, "expected.value=0"]\n'
        'quickstart.main()\n'
    )
    return run(job, 'run_quickstart.py')


def metrics_of(job: Path) -> dict:
    return json.loads((job / WORK / 'metrics.json').read_text())


def test_the_quickstart_prints_commands_tables_and_files(finished, job):
    assert f'$ python tools/train.py {CONFIG}' in finished
    assert 'AP50 (VID)' in finished and 'AP (COCO)' in finished
    assert 'vid/AP50 is' in finished and 'expected 0.000' in finished
    listed = re.findall(r'(work_dirs/\S+\.(?:pth|pkl|mp4|png|json))$', finished, re.M)
    assert len(set(listed)) >= 8
    for name in listed:
        assert (job / name).stat().st_size > 0, name


def test_the_log_holds_a_finite_falling_loss(finished, job):
    from mmdet.programs.analyse.training_logs import load_training

    losses = load_training(job / WORK).curve('loss')[1]
    assert len(losses) >= 2 and np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_the_checkpoint_loads_safely(finished, job):
    path = job / WORK / f'epoch_{EPOCHS}.pth'
    checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    assert checkpoint['meta']['epoch'] == EPOCHS
    assert all(torch.isfinite(w).all() for w in checkpoint['state_dict'].values())


def test_results_cover_every_frame_and_class(finished, job):
    annotations = json.loads((job / 'data/sample/annotations/imagenet_vid_val.json').read_text())
    results = pickle.loads((job / WORK / 'results.pkl').read_bytes())
    assert len(results) == len(annotations['images'])
    assert all(len(per_class) == len(annotations['categories']) for per_class in results)
    assert all(a.dtype == np.float32 and a.shape[1] == 5 for row in results for a in row)


def test_video_and_page_show_the_frames(finished, job):
    with av.open(str(job / WORK / 'pictures' / 'detections.mp4')) as container:
        frames = [f.to_ndarray(format='bgr24') for f in container.decode(video=0)]
    assert len(frames) >= 20 and frames[0].shape[0] >= 480
    page = cv2.imread(str(job / WORK / 'pictures' / 'frames.png'))
    assert page.shape[1] > 1500


def scored(job: Path, results: Path | str, folder: str, monkeypatch) -> dict:
    """The metrics of `tools/eval.py`, run in this process: importing torch once is enough."""
    monkeypatch.chdir(job)
    command = ['tools/eval.py', CONFIG, str(results), '--eval', 'bbox', '--work-dir', folder]
    monkeypatch.setattr(sys, 'argv', command)
    runpy.run_path('tools/eval.py', run_name='__main__')
    return json.loads((job / folder / 'metrics.json').read_text())


def test_scoring_the_results_file_gives_the_same_numbers(finished, job, monkeypatch):
    assert scored(job, WORK / 'results.pkl', 'again', monkeypatch) == metrics_of(job)


def test_format_only_and_show_dir(finished, job, monkeypatch):
    before = metrics_of(job)
    command = ['tools/test.py', CONFIG, WORK / f'epoch_{EPOCHS}.pth', '--work-dir', 'formatted']
    out = run(job, *command, '--format-only', '--show-dir', 'shown', '--show-score-thr', '0.0')
    assert not (job / 'formatted' / 'metrics.json').exists()
    path = re.search(r'(\S+\.bbox\.json)', out)[1]
    metrics = scored(job, path, 'from_json', monkeypatch)
    for name, value in before.items():  # the JSON rounds boxes to 1e-4 pixels
        assert metrics[name] == (value if value is None else pytest.approx(value, abs=1e-3)), name
    originals = sorted((job / 'data/sample/Data/VID/val').rglob('*.JPEG'))
    pictures = sorted((job / 'shown').rglob('*.JPEG'))
    assert [p.name for p in pictures] == [p.name for p in originals]
    changed = [
        np.abs(cv2.imread(str(a)).astype(int) - cv2.imread(str(b))).max() > 60
        for a, b in zip(originals, pictures, strict=True)
    ]
    assert np.mean(changed) > 0.5


def test_a_result_below_the_expected_one_is_an_error(
    finished, job, quickstart, monkeypatch, capsys
):
    from mmengine.config import Config

    monkeypatch.chdir(job)
    config = Config(dict(expected=dict(metric='vid/AP50', value=1.5, tolerance=0.1)))
    paths = [WORK / name for name in ('epoch_2.pth', 'results.pkl')]
    with pytest.raises(SystemExit, match=r'vid/AP50 is 0\.\d+, below the expected 1\.500'):
        quickstart._summary(config, CONFIG, {}, WORK, *paths)


def test_a_failing_step_stops_the_quickstart(quickstart, capfd):
    with pytest.raises(SystemExit, match=r'tools/train\.py nothing\.py.*exit code 1'):
        quickstart.Steps(1).run('tools/train.py', 'nothing.py')
    assert 'No config file nothing.py' in capfd.readouterr().err


def test_ctrl_c_lets_a_step_save_before_it_ends(tmp_path):
    (tmp_path / 'tools').mkdir()
    shutil.copy(REPO / 'tools/quickstart.py', tmp_path / 'tools')
    (tmp_path / 'tools/step.py').write_text(
        'import pathlib, time\n'
        'try:\n    print("started", flush=True)\n    time.sleep(60)\n'
        'except KeyboardInterrupt:\n    time.sleep(1); pathlib.Path("saved").touch()\n'
    )
    code = 'import sys; sys.path.insert(0, "tools"); import quickstart; '
    process = subprocess.Popen(
        [sys.executable, '-c', code + 'quickstart.Steps(1).run("tools/step.py")'],
        cwd=tmp_path,
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


def test_rendering_is_skipped_only_when_it_is_complete_and_newer(quickstart, monkeypatch, tmp_path):
    monkeypatch.setattr(quickstart, 'REPO', tmp_path)
    shutil.copytree(REPO / 'mmdet/programs/sample', tmp_path / 'mmdet/programs/sample')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/make_sample_vid.py').touch()
    folder = tmp_path / 'data/sample'
    (folder / 'annotations').mkdir(parents=True)
    assert not quickstart._is_rendered()
    marker = folder / 'sample_vid.json'
    marker.write_text(json.dumps(asdict(SampleSpec())))
    assert not quickstart._is_rendered()  # rendering was interrupted
    for name in quickstart.ANNOTATIONS:
        (folder / 'annotations' / f'{name}.json').touch()
    assert quickstart._is_rendered()
    marker.write_text(json.dumps(asdict(SampleSpec(seed=1))))
    assert not quickstart._is_rendered()  # another dataset
    marker.write_text(json.dumps(asdict(SampleSpec())))
    os.utime(marker, (0, 0))
    assert quickstart._is_rendered()
    future = 2**32
    os.utime(tmp_path / 'tools/make_sample_vid.py', (future, future))
    assert not quickstart._is_rendered()  # the renderer changed
