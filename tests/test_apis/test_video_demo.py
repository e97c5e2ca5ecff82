"""demo/video_demo.py: its files against each other and against the API, stops and errors."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_streams import decode, scenes, tiny_detector, write_frames, write_video

from mmdet.apis import VideoError
from mmdet.apis.video_run import StopSignals, run_video
from mmdet.core import progress
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.commands import detect

REPO = Path(__file__).resolve().parents[2]
CONFIG = str(REPO / 'configs/sample/faster_rcnn_r18.py')
SMALL = ['--device', 'cpu', '--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(64,48)']
OUTPUTS = {'out': 'v.mp4', 'json': 'r.jsonl', 'coco': 'r.json', 'mot': 'r.txt', 'csv': 'r.csv'}
FLAGS = [word for kind, name in OUTPUTS.items() for word in (f'--{kind}', name)]


@pytest.fixture
def demo(monkeypatch, tmp_path):
    """Runs the command in this process, in a folder with `clip.mp4`; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'clip.mp4', scenes(12))

    def run(*arguments: object) -> int | str | None:
        monkeypatch.setattr(sys, 'argv', ['video_demo.py', *map(str, arguments), *SMALL])
        try:
            return detect.main()
        except SystemExit as stop:
            return stop.code

    return run


def outputs(folder: Path) -> dict[str, str]:
    return {kind: str(folder / name) for kind, name in OUTPUTS.items()}


def read(folder: Path) -> dict:
    """Every file, parsed."""
    table = (folder / 'r.csv').read_text(encoding='utf-8').splitlines()
    return dict(
        drawn=decode(folder / 'v.mp4'),
        json=[json.loads(line) for line in (folder / 'r.jsonl').read_text().splitlines()],
        coco=json.loads((folder / 'r.json').read_text()),
        mot=[line.split(',') for line in (folder / 'r.txt').read_text().splitlines()],
        csv=list(csv.DictReader(table)),
    )


# ---- the files


@pytest.mark.parametrize('score_thr', [0.05, 1])  # with 1 there are no detections
def test_all_files_hold_what_the_stream_gives(tmp_path, score_thr):
    detector = tiny_detector('mamba', score_thr=score_thr)
    video = write_video(tmp_path / 'clip.mp4', scenes(12))
    results = list(detector.stream(video, stride=2))
    folder = tmp_path / 'new folder'
    assert run_video(detector.stream(video, stride=2), outputs(folder)) == (6, False)
    files = read(folder)
    rows = [(r, d) for r in results for d in r.detections.to_dicts(detector.classes)]
    assert (len(rows) > 0) == (score_thr < 1)
    assert [f['frame'] for f in files['json']] == [0, 2, 4, 6, 8, 10]
    assert [f['time_s'] for f in files['json']] == pytest.approx([0.08 * i for i in range(6)])
    assert all((f['width'], f['height']) == (64, 48) for f in files['json'])
    written = [(f['frame'], d) for f in files['json'] for d in f['detections']]
    table = zip(rows, written, files['csv'], files['mot'], strict=True)
    for (result, found), (frame, line), row, mot in table:
        assert frame == int(row['frame']) == int(mot[0]) - 1 == result.frame_index
        assert found['name'] == line['name'] == row['name'] and mot[1] == '-1'
        assert found['label'] == line['label'] == int(row['label']) == int(mot[7]) - 1
        for score in (line['score'], row['score'], mot[6]):
            assert float(score) == pytest.approx(found['score'], abs=1e-5)
        assert line['box'] == pytest.approx(found['box'], abs=1e-3)
        assert [float(row[n]) for n in ('x1', 'y1', 'x2', 'y2')] == line['box']
        x, y, w, h = map(float, mot[2:6])
        assert [x, y, x + w, y + h] == pytest.approx(found['box'], abs=3e-3)
    index = CocoVideoIndex.open(folder / 'r.json', cache_dir=tmp_path)
    assert len(index) == 6 and len(index.video_ids) == 1 and len(index.categories) == 30
    assert index.file_name(5) == 'clip/000010.jpg'
    coco = zip(rows, files['coco']['annotations'], strict=True)
    for (result, found), row in coco:
        assert row['image_id'] == result.detections.image_id
        assert row['category_id'] == found['label'] + 1
        assert row['area'] == pytest.approx(row['bbox'][2] * row['bbox'][3], abs=1e-3)
    for result, image in zip(results, files['drawn'], strict=True):
        difference = np.abs(image.astype(int) - result.image[..., ::-1]).max(axis=2) > 40
        assert difference.any() == (len(result.detections) > 0)
    with av.open(str(folder / 'v.mp4')) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.codec_context.name) == (12.5, 'h264')


# ---- the command


def test_the_command_writes_every_output(demo, tmp_path, capfd):
    assert demo('clip.mp4', CONFIG, *FLAGS, '--score-thr', 0.0, '--causal', '--stride', 3) == 0
    files = read(tmp_path)
    assert len(files['json']) == len(files['drawn']) == 4 and files['csv']
    said = capfd.readouterr().out
    assert all(name in said for name in OUTPUTS.values()) and 'weights are random' in said


def test_without_flags_a_video_with_a_name_after_the_input(demo, tmp_path):
    assert demo(write_frames(tmp_path / 'my frames', scenes(3)), CONFIG, '--fps', '10') == 0
    with av.open(str(tmp_path / 'my_frames_detections.mp4')) as container:
        assert container.streams.video[0].average_rate == 10


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['none.mp4', CONFIG], 'none.mp4 does not exist'),
        (['clip.mp4', 'none.py'], 'No config file'),
        (['clip.mp4', CONFIG, 'none.pth'], 'none.pth'),
        (['clip.mp4', CONFIG, '--out', 'v.gif'], 'Legal endings: .mp4'),
        (['text.mp4', CONFIG], 'Cannot open'),
        (['zero.avi', CONFIG, *FLAGS], 'No frame to look at'),
        (['mixed', CONFIG], 'All frames of a video share one size'),
        (['clip.mp4', CONFIG, '--stride', '0'], 'stride must be'),
        (['clip.mp4', CONFIG, '--amp', 'fp16'], 'needs a GPU'),
        (['clip.mp4', CONFIG, '--show'], 'No window can be opened'),
        (['clip.mp4', CONFIG, '--json', 'mixed'], 'mixed'),
        (['clip.mp4', CONFIG, '--out', 'clip.mp4'], 'name of the input'),
        (['clip.mp4', CONFIG, '--json', 'r', '--csv', 'r'], 'two outputs'),
        (['clip.mp4', CONFIG, '--score-thr', '2'], 'must be in 0..1'),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(demo, tmp_path, capsys, arguments, text):
    (tmp_path / 'text.mp4').write_text('no video')
    with av.open(str(tmp_path / 'zero.avi'), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        container.start_encoding()
    write_frames(tmp_path / 'mixed', scenes(1) + scenes(1, size=(60, 80)))
    before = {path.name for path in tmp_path.iterdir()}
    code = demo(*arguments)
    said = capsys.readouterr().err.splitlines()[-1] if code == 2 else code
    assert 'error: ' in said and text in said and '\n' not in said.strip()
    kept = {'mixed_detections.mp4'} if arguments[0] == 'mixed' else set()  # the frame before
    assert {path.name for path in tmp_path.iterdir()} == before | kept


# ---- stopping


def test_a_signal_waits_for_the_end_of_a_frame():
    done, before = [], signal.getsignal(signal.SIGINT)  # ignored in a job of the background
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals, signals.held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append('the frame is written')
    with pytest.raises(KeyboardInterrupt), StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals, signals.held():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        done.append('never')
    assert done == ['the frame is written']
    assert signal.getsignal(signal.SIGINT) is before


def test_a_source_that_stalls_can_be_stopped(tmp_path):
    def stalling():
        yield from scenes(2)
        while not lines.exists() or lines.read_text().count('\n') < 2:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.5)

    lines, main = tmp_path / OUTPUTS['json'], threading.main_thread().ident
    stream = tiny_detector('faster_rcnn').stream(stalling())
    assert run_video(stream, outputs(tmp_path)) == (2, True)
    assert len(read(tmp_path)['json']) == 2


@pytest.mark.slow
def test_ctrl_c_closes_the_outputs(tmp_path):
    write_video(tmp_path / 'long.mp4', scenes(100) * 30)
    command = [sys.executable, str(REPO / 'demo/video_demo.py'), 'long.mp4', CONFIG]
    command += [*FLAGS, '--score-thr', '0', *SMALL]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    lines, end = tmp_path / OUTPUTS['json'], time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if lines.exists() and lines.read_text().count('\n') >= 5:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    files = read(tmp_path)
    frames = len(files['json'])
    assert 5 <= frames < 3000 and f'Stopped after {frames} frames' in said
    assert len(files['drawn']) == len(files['coco']['images']) == frames
    assert len(files['csv']) == len(files['mot']) == len(files['coco']['annotations']) > 0
    assert {p.name for p in tmp_path.iterdir()} == {'long.mp4', *OUTPUTS.values()}


def test_a_run_that_ends_by_an_error_keeps_valid_files(tmp_path):
    arrays = iter([*scenes(5), np.zeros((3, 3), np.uint8)])
    with pytest.raises(VideoError, match='Frame 5 is uint8'):
        run_video(tiny_detector('mamba').stream(arrays), outputs(tmp_path))
    files = read(tmp_path)
    assert len(files['json']) == len(files['drawn']) == len(files['coco']['images']) == 5


def test_progress_where_nobody_knows_the_end(tmp_path, monkeypatch):
    said = []
    detector = tiny_detector('faster_rcnn')
    logger = type('Logger', (), {'info': lambda self, text: said.append(text)})()
    monkeypatch.setattr(progress.MMLogger, 'get_current_instance', lambda: logger)
    monkeypatch.setattr(progress, 'FIRST_LINE_S', 0)
    monkeypatch.setattr(progress, 'LINE_EVERY_S', 0)
    run_video(detector.stream(iter(scenes(3))), {'json': str(tmp_path / 'r.jsonl')})
    assert 'Detecting: 3 frames' in said[-1] and said[0].endswith('frames/s')
