"""demo/video_demo.py: its files against each other and against the API, stops and errors."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_streams import decode, scenes, tiny_detector, write_frames, write_video

from mmdet.apis import VideoError
from mmdet.apis.video_run import StopSignals, run_video
from mmdet.core import progress
from mmdet.core.progress import FrameProgress
from mmdet.datasets.parsers import CocoVideoIndex

REPO = Path(__file__).resolve().parents[2]
DEMO = REPO / 'demo/video_demo.py'
CONFIG = str(REPO / 'configs/sample/faster_rcnn_r18.py')
SMALL = ['--device', 'cpu', '--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(64,48)']


NO_FRAME_OUTPUTS = '--json r.jsonl --out z.mp4 --coco r.json --mot r.txt --csv r.csv'.split()


@pytest.fixture
def demo(monkeypatch, tmp_path):
    """Runs the demo in this process, in a folder of its own; returns its exit status."""
    monkeypatch.syspath_prepend(DEMO.parent)
    spec = importlib.util.spec_from_file_location('video_demo', DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> int | str | None:
        command = ['video_demo.py', *map(str, arguments), *SMALL]
        monkeypatch.setattr(sys, 'argv', command)
        try:
            return module.main()
        except SystemExit as stop:
            return stop.code

    return run


@pytest.fixture
def video(tmp_path) -> Path:
    return write_video(tmp_path / 'clip.mp4', scenes(12))


def outputs(folder: Path) -> dict[str, str]:
    names = {'out': 'v.mp4', 'json': 'r.jsonl', 'coco': 'r.json', 'mot': 'r.txt', 'csv': 'r.csv'}
    return {kind: str(folder / name) for kind, name in names.items()}


def read(paths: dict[str, str]) -> dict:
    """Every file, parsed."""
    with av.open(paths['out']) as container:
        stream = container.streams.video[0]
        video = dict(rate=stream.average_rate, codec=stream.codec_context.name)
    with open(paths['csv'], encoding='utf-8', newline='') as file:
        table = list(csv.DictReader(file))
    return dict(
        video,
        drawn=decode(paths['out']),
        json=[json.loads(line) for line in open(paths['json'], encoding='utf-8')],
        coco=json.loads(Path(paths['coco']).read_text()),
        mot=[line.split(',') for line in Path(paths['mot']).read_text().splitlines()],
        csv=table,
    )


# ---- the files


def test_all_files_hold_what_the_stream_gives(tmp_path, video):
    detector = tiny_detector('mamba')
    results = list(detector.stream(video, stride=2))
    paths = outputs(tmp_path / 'new folder')
    summary = run_video(detector.stream(video, stride=2), paths)
    assert summary == (6, False)
    files = read(paths)
    assert (files['rate'], files['codec'], len(files['drawn'])) == (12.5, 'h264', 6)
    rows = [(r, d) for r in results for d in r.detections.to_dicts(detector.classes)]
    assert len(rows) == len(files['csv']) == len(files['mot']) == len(files['coco']['annotations'])
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


def test_the_coco_file_is_a_cocovid_file_and_boxes_are_drawn(tmp_path, video):
    detector = tiny_detector('selsa')
    results = list(detector.stream(video))
    paths = {'coco': str(tmp_path / 'r.json'), 'out': str(tmp_path / 'v.mp4')}
    run_video(detector.stream(video), paths)
    index = CocoVideoIndex.open(paths['coco'], cache_dir=tmp_path)
    assert len(index) == 12 and len(index.video_ids) == 1 and len(index.categories) == 30
    assert index.file_name(11) == 'clip/000011.jpg'
    rows = json.loads(Path(paths['coco']).read_text())['annotations']
    counts = Counter(row['image_id'] for row in rows)
    assert [counts[i + 1] for i in range(12)] == [len(r.detections) for r in results]
    for row in rows:
        assert row['area'] == pytest.approx(row['bbox'][2] * row['bbox'][3], abs=1e-3)
        assert 1 <= row['category_id'] <= 30 and 0 <= row['score'] <= 1
    for result, image in zip(results, decode(paths['out']), strict=True):
        difference = np.abs(image.astype(int) - result.image[..., ::-1]).max(axis=2) > 40
        assert difference.any() == (len(result.detections) > 0)


def test_frames_without_detections(tmp_path, video):
    detector = tiny_detector('selsa', score_thr=1)
    paths = outputs(tmp_path)
    run_video(detector.stream(video), paths)
    files = read(paths)
    assert [f['detections'] for f in files['json']] == [[]] * 12
    assert files['csv'] == files['mot'] == files['coco']['annotations'] == []
    assert len(files['coco']['images']) == len(files['drawn']) == 12


# ---- the command


def test_the_command_writes_every_output(demo, video, tmp_path, capfd):
    paths = outputs(tmp_path / 'o')
    flags = [part for kind, path in paths.items() for part in (f'--{kind}', path)]
    assert demo(video, CONFIG, *flags, '--score-thr', 0.0, '--causal', '--stride', 3) == 0
    files = read(paths)
    assert len(files['json']) == len(files['drawn']) == 4 and files['csv']
    said = capfd.readouterr().out
    assert all(path in said for path in paths.values()) and 'weights are random' in said


def test_without_flags_a_video_with_a_name_after_the_input(demo, tmp_path):
    assert demo(write_frames(tmp_path / 'my frames', scenes(3)), CONFIG, '--fps', '10') == 0
    with av.open(str(tmp_path / 'my_frames_detections.mp4')) as container:
        assert container.streams.video[0].average_rate == 10


@pytest.mark.parametrize(
    'arguments, text',
    [
        (['none.mp4', CONFIG], 'none.mp4 does not exist'),
        (['clip.mp4', 'none.py'], 'No config file'),
        (['clip.mp4', CONFIG, 'none.pth'], 'none.pth'),
        (['clip.mp4', CONFIG, '--out', 'v.gif'], 'Legal endings: .mp4'),
        (['text.mp4', CONFIG], 'Cannot open'),
        (['zero.avi', CONFIG, *NO_FRAME_OUTPUTS], 'No frame to look at'),
        (['mixed', CONFIG], 'All frames of a video share one size'),
        (['clip.mp4', CONFIG, '--stride', '0'], 'stride must be'),
        (['clip.mp4', CONFIG, '--amp', 'fp16'], 'needs a GPU'),
        (['clip.mp4', CONFIG, '--show'], 'No window can be opened'),
        (['clip.mp4', CONFIG, '--json', 'folder'], 'folder'),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(demo, tmp_path, video, arguments, text, request):
    (tmp_path / 'text.mp4').write_text('no video')
    (tmp_path / 'folder').mkdir()
    with av.open(str(tmp_path / 'zero.avi'), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        container.start_encoding()
    small, large = scenes(1)[0], scenes(1, size=(60, 80))[0]
    write_frames(tmp_path / 'mixed', [small, large])
    before = sorted(p.name for p in tmp_path.iterdir())
    said = demo(*arguments)
    assert str(said).startswith('error: ') and text in said and '\n' not in said.strip()
    left = sorted(p.name for p in tmp_path.iterdir())
    kept = ['mixed_detections.mp4'] if arguments[0] == 'mixed' else []  # the frame before
    assert left == sorted(before + kept)


@pytest.mark.parametrize(
    'flags, text',
    [
        (['--out', 'clip.mp4'], 'name of the input'),
        (['--json', 'r', '--csv', 'r'], 'two outputs'),
        (['--score-thr', '2'], 'must be in 0..1'),
    ],
)
def test_flags_that_contradict_are_refused_at_once(demo, video, capsys, flags, text):
    assert demo('clip.mp4', CONFIG, *flags) == 2
    assert text in capsys.readouterr().err


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
        timer.start()
        stalled.wait()

    stalled, main = threading.Event(), threading.main_thread().ident
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    stream = tiny_detector('faster_rcnn').stream(stalling())
    paths = outputs(tmp_path)
    release = threading.Timer(1, stalled.set)  # before the stream gives up to wait for its thread
    release.start()
    assert run_video(stream, paths) == (2, True)
    assert len(read(paths)['json']) == 2


@pytest.mark.slow
def test_ctrl_c_closes_the_outputs(tmp_path):
    video = write_video(tmp_path / 'long.mp4', scenes(100) * 30)
    paths = outputs(tmp_path)
    flags = [part for kind, path in paths.items() for part in (f'--{kind}', path)]
    command = [sys.executable, str(DEMO), str(video), CONFIG, *flags, '--score-thr', '0', *SMALL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = Path(paths['json'])
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if lines.exists() and lines.read_text().count('\n') >= 5:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    files = read(paths)
    frames = len(files['json'])
    assert 5 <= frames < 3000 and f'Stopped after {frames} frames' in said
    assert len(files['drawn']) == len(files['coco']['images']) == frames
    assert len(files['csv']) == len(files['mot']) == len(files['coco']['annotations']) > 0
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {'long.mp4', *(Path(path).name for path in paths.values())}


def test_a_run_that_ends_by_an_error_keeps_valid_files(tmp_path):
    def arrays():
        yield from scenes(5)
        yield np.zeros((3, 3), np.uint8)

    paths = outputs(tmp_path)
    with pytest.raises(VideoError, match='Frame 5 is uint8'):
        run_video(tiny_detector('mamba').stream(arrays()), paths)
    files = read(paths)
    assert len(files['json']) == len(files['drawn']) == len(files['coco']['images']) == 5


def test_progress_where_nobody_knows_the_end(tmp_path, monkeypatch):
    said = []
    detector = tiny_detector('faster_rcnn')
    logger = type('Logger', (), {'info': lambda self, text: said.append(text)})()
    monkeypatch.setattr(progress.MMLogger, 'get_current_instance', lambda: logger)
    monkeypatch.setattr(progress, 'LINE_EVERY_S', 0)
    with FrameProgress(None, 'Detecting') as bar:
        bar.advance(2)
    assert said[0].startswith('Detecting: 2 frames, ') and said[0].endswith('frames/s')
    run_video(detector.stream(iter(scenes(3))), {'json': str(tmp_path / 'r.jsonl')})
    assert 'Detecting: 3 frames' in said[-1]
