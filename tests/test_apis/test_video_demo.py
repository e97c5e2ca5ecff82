"""demo/video_demo.py: its files against each other and against the API, stops and errors."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_streams import decode, scenes, tiny_detector, write_frames, write_video

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


def test_all_files_hold_what_the_stream_gives(tmp_path):
    detector = tiny_detector('mamba')
    video = write_video(tmp_path / 'clip.mp4', scenes(12))
    results = list(detector.stream(video, stride=2))
    folder = tmp_path / 'new folder'
    assert run_video(detector.stream(video, stride=2), outputs(folder)) == (6, False)
    files = read(folder)
    rows = [(r, d) for r in results for d in r.detections.to_dicts(detector.classes)]
    assert rows and [f['frame'] for f in files['json']] == [0, 2, 4, 6, 8, 10]
    assert [f['time_s'] for f in files['json']] == pytest.approx([0.08 * i for i in range(6)])
    assert all((f['width'], f['height']) == (64, 48) for f in files['json'])
    written = [(f['frame'], d) for f in files['json'] for d in f['detections']]
    coco = files['coco']['annotations']
    table = zip(rows, written, files['csv'], files['mot'], coco, strict=True)
    for (result, found), (frame, line), row, mot, box in table:
        assert frame == int(row['frame']) == int(mot[0]) - 1 == result.frame_index
        assert found['name'] == line['name'] == row['name'] and mot[1] == '-1'
        label, image = found['label'], result.detections.image_id
        assert label == line['label'] == int(row['label']) == int(mot[7]) - 1
        assert (box['category_id'], box['image_id']) == (label + 1, image)
        for score in (line['score'], row['score'], mot[6]):
            assert float(score) == pytest.approx(found['score'], abs=1e-5)
        assert line['box'] == pytest.approx(found['box'], abs=1e-3)
        assert [float(row[n]) for n in ('x1', 'y1', 'x2', 'y2')] == line['box']
        for x, y, w, h in (map(float, mot[2:6]), box['bbox']):
            assert [x, y, x + w, y + h] == pytest.approx(found['box'], abs=3e-3)
    index = CocoVideoIndex.open(folder / 'r.json', cache_dir=tmp_path)
    assert len(index) == 6 and len(index.video_ids) == 1 and len(index.categories) == 30
    assert index.file_name(5) == 'clip/000010.jpg'
    for result, image in zip(results, files['drawn'], strict=True):
        difference = np.abs(image.astype(int) - result.image[..., ::-1]).max(axis=2) > 40
        assert difference.any() == (len(result.detections) > 0)


# ---- the command


def test_the_command_writes_every_output(demo, tmp_path, capfd):
    assert demo('clip.mp4', CONFIG, *FLAGS, '--score-thr', 0.0, '--causal', '--stride', 3) == 0
    files = read(tmp_path)
    assert len(files['json']) == len(files['drawn']) == 4 and files['csv']
    said = capfd.readouterr().out
    assert all(name in said for name in OUTPUTS.values()) and 'weights are random' in said
    assert demo(write_frames(tmp_path / 'my frames', scenes(3)), CONFIG, '--fps', '10') == 0
    with av.open(str(tmp_path / 'my_frames_detections.mp4')) as container:  # without flags
        assert container.streams.video[0].average_rate == 10


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['none.mp4', CONFIG], 'none.mp4 does not exist'),
        (['clip.mp4', CONFIG, '--out', 'v.gif'], 'Legal endings: .mp4'),
        (['zero.avi', CONFIG, *FLAGS], 'No frame to look at'),
        (['mixed', CONFIG], 'All frames of a video share one size'),
        (['clip.mp4', CONFIG, '--show'], 'No window can be opened'),
        (['clip.mp4', CONFIG, '--out', 'clip.mp4'], 'name of the input'),
        (['clip.mp4', CONFIG, '--score-thr', '2'], 'must be in 0..1'),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(demo, tmp_path, capsys, arguments, text):
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


def test_a_signal_waits_for_the_end_of_a_frame_and_a_second_one_does_not():
    done, before = [], signal.getsignal(signal.SIGINT)  # ignored in a job of the background
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals, signals.held():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append('the frame is written')
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals, signals.held():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        done.append('never')
    assert done == ['the frame is written'] and signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_ctrl_c_closes_the_outputs(tmp_path):
    write_video(tmp_path / 'long.mp4', scenes(100) * 30)
    command = [sys.executable, str(REPO / 'demo/video_demo.py'), 'long.mp4', CONFIG]
    command += [*FLAGS, '--score-thr', '0', *SMALL]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    lines, end = tmp_path / OUTPUTS['json'], time.monotonic() + 120
    while not lines.exists() or lines.read_text().count('\n') < 5:
        assert time.monotonic() < end and process.poll() is None
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


def test_progress_where_nobody_knows_the_end(tmp_path, monkeypatch):
    said, stream = [], tiny_detector('faster_rcnn').stream(iter(scenes(3)))
    logger = type('Logger', (), {'info': lambda self, text: said.append(text)})()
    monkeypatch.setattr(progress.MMLogger, 'get_current_instance', lambda: logger)
    monkeypatch.setattr(progress, 'FIRST_LINE_S', 0)
    monkeypatch.setattr(progress, 'LINE_EVERY_S', 0)
    run_video(stream, {'json': str(tmp_path / 'r.jsonl')})
    assert 'Detecting: 3 frames' in said[-1] and said[0].endswith('frames/s')
