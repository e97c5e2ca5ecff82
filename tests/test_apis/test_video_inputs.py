"""Videos as cameras and recorders make them: mirrors, pixels that are not square, clocks, names."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_streams import (
    B_FRAMES,
    SIZE,
    decode,
    scenes,
    set_display_matrix,
    tiny_detector,
    write_video,
)

from mmdet.apis import video_run
from mmdet.apis.video_run import run_video
from mmdet.core.errors import VideoError
from mmdet.programs.convert.frame_folders import extract_frames
from mmdet.video.frame_source import Clock
from mmdet.video.sources import open_source
from mmdet.video.video_file import VideoFile
from mmdet.video.writer import VideoWriter

COLOURS = {'R': (0, 0, 255), 'G': (0, 255, 0), 'B': (255, 0, 0), 'W': (255, 255, 255)}


def flag() -> np.ndarray:
    """[48, 64, 3] BGR: R top left, G top right, B bottom left, W bottom right."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:24, :32], image[:24, 32:] = COLOURS['R'], COLOURS['G']
    image[24:, :32], image[24:, 32:] = COLOURS['B'], COLOURS['W']
    return image


def corners(image: np.ndarray) -> str:
    """The letters of the colours at the top left, top right, bottom left and bottom right."""
    height, width = image.shape[:2]
    found = ''
    for y in (height // 8, height * 7 // 8):
        for x in (width // 8, width * 7 // 8):
            off = {n: np.abs(image[y, x].astype(int) - c).sum() for n, c in COLOURS.items()}
            found += min(off, key=off.get)
    return found


# (a, b, c, d): the stored point (x, y) is shown at (a x + c y, b x + d y), ISO 14496-12, 8.2.2
MATRICES = {
    (1, 0, 0, 1): 'RGBW',
    (-1, 0, 0, 1): 'GRWB',  # front cameras
    (1, 0, 0, -1): 'BWRG',
    (-1, 0, 0, -1): 'WBGR',
    (0, 1, -1, 0): 'BRWG',  # a quarter clockwise: the left column becomes the top row
    (0, -1, 1, 0): 'GWRB',
    (0, 1, 1, 0): 'RBGW',  # transposed
    (0, -1, -1, 0): 'WGBR',
}


@pytest.mark.parametrize('matrix', MATRICES)
def test_any_display_matrix_is_obeyed_by_every_reader(tmp_path, matrix):
    path = write_video(tmp_path / 'a.mp4', [flag()] * 4)
    set_display_matrix(path, *matrix)
    file, right = VideoFile(path), MATRICES[matrix]
    assert [corners(frame.image) for frame in file.frames()] == [right] * 4
    assert corners(file.read(2)) == right
    assert file.read(2).shape[:2] == (SIZE if matrix[0] else SIZE[::-1])
    extract_frames(path, tmp_path / 'frames')
    assert corners(open_source(tmp_path / 'frames').read(1)) == right
    detector = tiny_detector('faster_rcnn')
    detector.score_thr = 2  # nothing is drawn over the corners
    run_video(detector.stream(path), {'out': str(tmp_path / 'o.mp4')})
    assert corners(decode(tmp_path / 'o.mp4')[1]) == right


def times_of(path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


VARIED_MS = [*range(0, 1200, 40), *range(1200, 7200, 200)]  # 30 frames at 25/s, then 30 at 5/s


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'mov'])
def test_drawn_videos_keep_the_time_of_every_frame(tmp_path, ending):
    path = write_video(tmp_path / 'a.mkv', scenes(60), times_ms=VARIED_MS)
    out, lines = tmp_path / f'o.{ending}', tmp_path / 'o.jsonl'
    detector = tiny_detector('faster_rcnn')
    run_video(detector.stream(path), {'out': str(out), 'json': str(lines)})
    times = times_of(out)
    np.testing.assert_allclose(times, np.array(VARIED_MS) / 1000, atol=1e-3)
    assert times[30] == pytest.approx(1.2) and times[-1] == pytest.approx(7.0)
    told = [json.loads(line)['time_s'] for line in lines.read_text().splitlines()]
    np.testing.assert_allclose(told, times, atol=1e-3)
    with av.open(str(out)) as container:  # the header promises all of it
        assert container.duration / av.time_base > 7.0


@pytest.mark.parametrize('fps', [25, 29.97, Fraction(15, 2)])
def test_a_constant_rate_stays_exact(tmp_path, fps):
    with VideoWriter(tmp_path / 'a.mp4', fps) as writer:
        for i, image in enumerate(scenes(30)):
            writer.write(image, i / float(writer.fps))
    with av.open(str(tmp_path / 'a.mp4')) as container:
        assert container.streams.video[0].average_rate == writer.fps
        exact = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert exact == [i / writer.fps for i in range(30)]


def anamorphic(path, aspect: Fraction):
    with VideoWriter(path, 25, pixel_aspect=aspect) as writer:
        for image in scenes(4):
            writer.write(image)
    return path


@pytest.mark.parametrize(
    ('aspect', 'ending'),
    [(Fraction(2), 'mp4'), (Fraction(16, 11), 'mkv'), (Fraction(8, 9), 'mov')],
)
def test_drawn_videos_keep_the_aspect_of_their_pixels(tmp_path, aspect, ending):
    path = anamorphic(tmp_path / 'a.mp4', aspect)
    out = tmp_path / f'o.{ending}'
    run_video(tiny_detector('faster_rcnn').stream(path), {'out': str(out)})
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == aspect
        assert (stream.height, stream.width) == SIZE


def test_a_window_shows_square_pixels(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(video_run.cv2, 'namedWindow', lambda *_: None)
    monkeypatch.setattr(video_run.cv2, 'imshow', lambda _, image: shown.append(image.shape))
    monkeypatch.setattr(video_run.cv2, 'waitKey', lambda _: ord('q') if len(shown) == 4 else -1)
    for aspect in (Fraction(2), Fraction(1, 2)):
        path = anamorphic(tmp_path / 'a.mp4', aspect)
        run_video(tiny_detector('faster_rcnn').stream(path), {}, show=True)
    assert shown == [(48, 128, 3)] * 4 + [(96, 64, 3)] * 4


def test_a_turned_frame_has_turned_pixels(tmp_path):
    path = anamorphic(tmp_path / 'a.mp4', Fraction(2))
    set_display_matrix(path, 0, 1, -1, 0)
    run_video(tiny_detector('faster_rcnn').stream(path), {'out': str(tmp_path / 'o.mp4')})
    with av.open(str(tmp_path / 'o.mp4')) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(1, 2)
        assert (stream.width, stream.height) == SIZE


# ---- clocks


@pytest.mark.parametrize(
    ('stamps', 'seconds'),
    [
        ([7, 7.04, 7.08], [0, 0.04, 0.08]),
        ([7, 7.04, 1.0, 1.04], [0, 0.04, 0.08, 0.12]),  # set back
        ([7, 7.04, 7.04, 7.08], [0, 0.04, 0.08, 0.12]),  # stands still
        ([7, 7.04, 95443.7, 95443.74], [0, 0.04, 0.08, 0.12]),  # wrapped
        ([7, 12, 17], [0, 5, 10]),  # a slow camera
        ([0, 60, 3600], [0, 60, 3600]),  # long gaps in files are no jumps
    ],
)
def test_times_always_rise(stamps, seconds):
    clock = Clock(0.04, jumps=stamps[1] < 60)
    np.testing.assert_allclose([clock.seconds(stamp) for stamp in stamps], seconds, atol=1e-9)


@pytest.mark.parametrize('start', [0.0, 40.0])
def test_a_transport_stream_that_was_joined_runs_on(tmp_path, start):
    """Two recordings one after the other, the second of which starts at another time."""
    parts = [scenes(10, seed=0), scenes(10, seed=1)]
    first, second = (
        write_video(tmp_path / f'{i}.ts', part, options={**B_FRAMES, 'bf': '0'})
        for i, part in enumerate(parts)
    )
    if start:
        second = _moved(second, tmp_path / 'moved.ts', start)
    joined = tmp_path / 'joined.ts'
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    file = VideoFile(joined)
    frames = list(file.frames())
    np.testing.assert_allclose([f.timestamp_s for f in frames], np.arange(20) / 25, atol=0.021)
    assert np.all(np.diff([f.timestamp_s for f in frames]) > 0)
    assert file.count() == 20 and file.broken is None
    for index in (3, 13, 10, 0):  # by index as in order
        assert np.array_equal(file.read(index), frames[index].image)


def _moved(path, target, start: float):
    """The same packets, `start` seconds later."""
    with av.open(str(path)) as source, av.open(str(target), 'w', format='mpegts') as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None:
                continue
            packet.stream = copy
            packet.pts += round(start / packet.time_base)
            packet.dts += round(start / packet.time_base)
            out.mux(packet)
    return target


# ---- names and disks


@pytest.mark.parametrize('name', ['12:30:05.mp4', 'cam:7.mp4', 'http:x.mp4', 'a%03d.mp4', '-v.mp4'])
def test_files_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'plain.mp4', scenes(3)).rename(tmp_path / name)
    source = open_source(name)
    assert source.count() == 3 and len(list(source.frames())) == 3 and source.read(1) is not None
    run_video(
        tiny_detector('faster_rcnn').stream(name), {'out': f'out {name}', 'json': 'a:b.jsonl'}
    )
    assert len(decode(tmp_path / f'out {name}')) == 3
    assert (tmp_path / 'a:b.jsonl').exists()
    monkeypatch.chdir('/')
    assert open_source(str(tmp_path / name)).count() == 3


def test_what_is_there_is_a_file_and_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'http:').mkdir()
    write_video(tmp_path / 'http:/a.mp4', scenes(3))
    assert open_source('http://a.mp4').count() == 3
    with pytest.raises(VideoError, match=r'Cannot open nothing://b\.mp4'):
        open_source('nothing://b.mp4')


FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from tiny_streams import tiny_detector
from mmdet.apis import video_run
from mmdet.apis.video_run import run_video
detector = tiny_detector('faster_rcnn')
detector.score_thr = 0
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a longer file fails as on a full disk
for output in sys.argv[3:]:
    kind, path = output.split('=')
    try: run_video(detector.stream(sys.argv[2]), {kind: path})
    except Exception as error: print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, *SIZE, 3), np.uint8)
    video = write_video(tmp_path / 'a.mp4', list(noise))
    (tmp_path / 'out').mkdir()
    outs = {kind: tmp_path / 'out' / kind for kind in ('json', 'coco', 'mot', 'csv')}
    outs['out'] = tmp_path / 'out/o.mp4'
    for out in outs.values():
        out.write_text('old')
    command = [sys.executable, '-c', FULL_DISK, str(Path(__file__).parents[1]), str(video)]
    command += [f'{kind}={out}' for kind, out in outs.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for out in outs.values():
        assert f'WriteError cannot write {out}: File too large. ' in done.stdout
    assert sorted((tmp_path / 'out').iterdir()) == sorted(outs.values())
    assert outs['out'].read_text() == outs['coco'].read_text() == 'old'
    rows = [json.loads(line) for line in outs['json'].read_text().splitlines()]
    assert [row['frame'] for row in rows] == list(range(len(rows))) and 0 < len(rows) < 40
    for kind in ('mot', 'csv'):  # what was done is there, in whole lines
        text = outs[kind].read_text()
        assert text.endswith('\n') and len({line.count(',') for line in text.splitlines()}) == 1
